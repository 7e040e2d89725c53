package pgserver

import (
	"archive/zip"
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

func TestDownload_OncePerVersion(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // the library leaves its log there
	var served atomic.Int32
	archive := archiveOf(t, "17.5")
	repository := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, ".jar") {
			http.NotFound(w, r)
			return
		}
		served.Add(1)
		w.Write(archive)
	}))
	defer repository.Close()

	cache := folder(t)
	who, err := accountFor(filepath.Join(cache, "cluster"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		found, err := downloadFrom(t.Context(), repository.URL, cache, who, 17)
		if err != nil {
			t.Fatal(err)
		}
		if found.major != 17 {
			t.Errorf("downloaded %+v, want 17", found)
		}
	}
	if n := served.Load(); n != 1 {
		t.Errorf("downloaded %d times", n)
	}
}

func TestDownload_FailureLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	repository := httptest.NewServer(http.NotFoundHandler())
	defer repository.Close()
	cache := folder(t)
	_, err := downloadFrom(t.Context(), repository.URL, cache, account{}, 0)
	wantError(t, err, "no version found")
	if left, _ := filepath.Glob(filepath.Join(cache, "*.new-*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// archiveOf packs fake binaries as the repository does: tar in xz in zip.
func archiveOf(t *testing.T, version string) []byte {
	t.Helper()
	dir := folder(t)
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	fake(t, filepath.Join(dir, "bin"), version)
	if err := os.Link(filepath.Join(dir, "bin", "postgres"), filepath.Join(dir, "bin", "pg_ctl")); err != nil {
		t.Fatal(err)
	}
	tar, err := exec.Command("tar", "-C", dir, "--hard-dereference", "-cJf", "-", "bin").Output()
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal("CI is set, but there is no tar with xz: ", err)
	}
	if err != nil {
		t.Skip("no tar with xz here: ", err)
	}
	var jar bytes.Buffer
	archive := zip.NewWriter(&jar)
	file, err := archive.Create("postgres.txz")
	if err == nil {
		_, err = file.Write(tar)
	}
	if err == nil {
		err = archive.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return jar.Bytes()
}
