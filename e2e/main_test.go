package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"
)

// binary is the command outcrier, and demo the one of examples/demo, built for this run of
// the tests.
var binary, demo string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "outcrier-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary, demo = filepath.Join(dir, "outcrier"), filepath.Join(dir, "demo")
	args := []string{"build", "-o", dir}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "./cmd/outcrier", "./examples/demo")...)
	build.Dir = ".." // of the module of the command
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the commands: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// track looks at all of the source. What the binary is made of, go test can't
// know; but from its cache it gives no result of a test that has looked at a
// folder which changed since.
var track = sync.OnceValue(func() error {
	return filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if name := entry.Name(); err == nil && entry.IsDir() && name != ".." && (name[0] == '.' || name == "node_modules") {
			return fs.SkipDir
		}
		return err
	})
})

// deadline is how long a test waits for anything: long enough for a busy machine.
const deadline = 30 * time.Second

// eventually waits until the condition that what describes is true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", deadline, what)
		}
	}
}

// need is the path of a foreign program, the first that is installed.
func need(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	without(t, "none of %q is installed", names)
	return ""
}

// without skips a test that can't have its client. In CI it fails.
func without(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set, but "+format, args...)
	}
	t.Skipf(format, args...)
}

// has reports whether a program is there that a test can do without. In CI it has to be.
func has(t *testing.T, name string) bool {
	t.Helper()
	_, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("CI is set, but %s is not installed", name)
	}
	return err == nil
}

// folder is a temporary folder that the account of Postgres can enter, which
// root's t.TempDir is not.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "outcrier-e2e-data-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
