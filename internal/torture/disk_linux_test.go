package torture

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/internal/testkit"
)

// TestFault_DiskFull: no room for rows, then none for the WAL either, at which
// Postgres goes down until there is room.
func TestFault_DiskFull(t *testing.T) {
	t.Parallel()
	folder := testkit.Folder(t)
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=220m,mode=755"); err != nil {
		testkit.Missing(t, "a small disk can't be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	server := startPostgresOf(t, pgserver.Config{Data: folder, Settings: withSettings("max_wal_size", "32MB", "min_wal_size", "32MB")})
	f := newField(t, server.URL(""), 2)
	f.prepare()
	f.write(6)
	f.read(6)
	f.recover("the start", testkit.Deadline)
	f.suffer("disk full", 30*time.Second, func() {
		room := fill(t, filepath.Join(folder, "ballast"))
		// A new segment of the WAL finds no room.
		for range 4 {
			_ = attempt(t.Context(), f.url, `SELECT pg_switch_wal()`)
			pause(t.Context(), 250*time.Millisecond)
		}
		if err := attempt(t.Context(), f.url, `INSERT INTO torture_business SELECT generate_series(1, 1000000)`); err == nil {
			t.Error("there is still room")
		}
		f.pause(time.Second, 2*time.Second)
		room()
		// Postgres may have restarted by itself, or have given up.
		if attempt(t.Context(), f.url, `SELECT`) != nil {
			must(t, server.Kill())
			must(t, server.Restart(t.Context()))
		}
	})
	f.end()
}

// fill leaves no room on the disk of a file, until room is called.
func fill(t *testing.T, file string) (room func()) {
	t.Helper()
	ballast, err := os.Create(file)
	must(t, err)
	piece := make([]byte, 64<<10)
	for len(piece) > 0 {
		if _, err := ballast.Write(piece); errors.Is(err, syscall.ENOSPC) {
			piece = piece[:len(piece)/2]
		} else {
			must(t, err)
		}
	}
	return func() {
		must(t, ballast.Close())
		must(t, os.Remove(file))
	}
}
