package testkit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
)

// RaceDetector reports whether the tests run under the race detector.
func RaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// Command returns the path of a command of this repository, like "cmd/outcrier", built with the
// race detector if the tests are.
func Command(t testing.TB, folder string) string {
	t.Helper()
	return built(t, folder, RaceDetector())
}

// PlainCommand is Command without the race detector, which needs many times the memory of the
// program. It is built as a release is.
func PlainCommand(t testing.TB, folder string) string {
	t.Helper()
	return built(t, folder, false)
}

// Go returns a command of go that builds without cgo and without the names of folders, as the
// Makefile and the Dockerfile do: each package is then compiled once for all of them, and for all
// checkouts. With cgo all packages that import net would be compiled a second time.
func Go(args ...string) *exec.Cmd {
	command := exec.Command("go", args...) //nolint:gosec,noctx // a test's, and go ends
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+os.Getenv("GOFLAGS")+" -trimpath")
	return command
}

func built(t testing.TB, folder string, race bool) string {
	t.Helper()
	path, err := build(folder, race)
	if err != nil {
		t.Fatalf("build %s: %v", folder, err)
	}
	return path
}

var (
	building sync.Mutex
	done     = map[string]string{}
)

// build builds a command once for this process. All test binaries of a checkout share the
// file: go build leaves one that is up to date as it is, and so links it once for a whole run.
func build(folder string, race bool) (path string, err error) {
	building.Lock()
	defer building.Unlock()
	root, err := root()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Append(nil, root, folder, race))
	// Next to go's own folder for builds, from which it can move the file.
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("outcrier-built-%d-%x", os.Getuid(), sum[:6]))
	path = filepath.Join(dir, filepath.Base(folder))
	if done[path] != "" {
		return path, nil
	}
	if err := lookAt(root); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	free, err := lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer free()
	compile := Go("build", "-ldflags=-s -w", "-o", path, "./"+folder) // without what a debugger needs
	if race {
		compile = exec.Command("go", "build", "-race", "-ldflags=-s -w", "-o", path, "./"+folder) //nolint:gosec,noctx // a folder of ours, and go ends
	}
	compile.Dir = root
	if out, err := compile.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	done[path] = path
	return path, nil
}

// root returns the folder of the repository that the test is in.
func root() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "cmd/outcrier")); err == nil {
			return folder, nil
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", errors.New("the test is not in the repository")
		}
		folder = parent
	}
}

// Source returns the folder of the repository, and looks at all of the source beneath it. go
// test can't know what a command is made of; but from its cache it gives no result of a test
// that has looked at a folder which changed since.
func Source(t testing.TB) string {
	t.Helper()
	root, err := root()
	if err == nil {
		err = lookAt(root)
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func lookAt(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if name := entry.Name(); err == nil && entry.IsDir() && path != root && (name[0] == '.' || name == "node_modules") {
			return fs.SkipDir
		}
		return err
	})
}
