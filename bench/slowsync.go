package main

import (
	"context"
	_ "embed" // of slowsync.c
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

//go:embed slowsync/slowsync.c
var slowSyncSource []byte

// slowSync is a library that makes every sync of a process take longer.
type slowSync struct{ folder, library string }

// compileSlowSync needs Linux and a C compiler. The caller removes the folder.
func compileSlowSync(ctx context.Context) (*slowSync, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("a delay of syncs needs Linux")
	}
	compiler, err := exec.LookPath("cc")
	if err != nil {
		return nil, fmt.Errorf("a delay of syncs needs a C compiler: %w", err)
	}
	folder, err := os.MkdirTemp("", "outcrier-slowsync-")
	if err != nil {
		return nil, err
	}
	s := &slowSync{folder: folder, library: filepath.Join(folder, "slowsync.so")}
	source := filepath.Join(folder, "slowsync.c")
	err = errors.Join(
		os.WriteFile(source, slowSyncSource, 0o600),
		os.Chmod(folder, 0o755), //nolint:gosec // Postgres runs as another user where we are root
	)
	if err == nil {
		cmd := exec.CommandContext(ctx, compiler, "-shared", "-fPIC", "-O2", "-o", s.library, source, "-ldl") //nolint:gosec // the compiler is the user's
		if out, failed := cmd.CombinedOutput(); failed != nil {
			err = fmt.Errorf("compile the delay of syncs: %w: %s", failed, out)
		}
	}
	if err == nil {
		err = os.Chmod(s.library, 0o755) //nolint:gosec // see above
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return s, nil
}

// env is what a process gets whose syncs are to take d longer.
func (s *slowSync) env(d time.Duration) []string {
	return []string{"LD_PRELOAD=" + s.library, "SLOWSYNC_MICROSECONDS=" + strconv.FormatInt(d.Microseconds(), 10)}
}
