package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	module  = "github.com/outcrier/outcrier"
	command = "outcrier"
)

// program returns the path of the command outcrier: what --outcrier names; otherwise one
// that is built from the repository in which this runs, so that its source is measured;
// otherwise the one in PATH. remove is to be called when no server needs it any more.
func (s settings) program(ctx context.Context, stderr io.Writer) (path string, remove func(), err error) {
	remove = func() {}
	if s.outcrier != "" {
		path, err = exec.LookPath(s.outcrier)
		return path, remove, err
	}
	source, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		if path, err = exec.LookPath(command); err != nil {
			return "", remove, fmt.Errorf("no command to measure: run this in the repository, or name one by --outcrier: %w", err)
		}
		return path, remove, nil
	}
	dir, err := os.MkdirTemp("", "outcrier-bench-")
	if err != nil {
		return "", remove, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	fmt.Fprintln(stderr, "build the server")
	path = filepath.Join(dir, command)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "./cmd/outcrier") //nolint:gosec // G204: of our own making
	build.Dir = strings.TrimSpace(string(source))
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as a release is built
	if out, err := build.CombinedOutput(); err != nil {
		remove()
		return "", func() {}, fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return path, remove, nil
}
