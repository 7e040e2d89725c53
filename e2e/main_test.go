package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
)

func TestMain(m *testing.M) {
	code := m.Run()
	closeBrowser()
	for _, dir := range installed.folders {
		_ = os.RemoveAll(dir)
	}
	if err := layOut(pictures()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// binary is the command outcrier, which has the race detector if the tests have it.
func binary(t *testing.T) string { t.Helper(); return testkit.Command(t, "cmd/outcrier") }

// demo is the one of examples/demo, without the race detector: the tests that start it are about
// what its pages and streams show, and its packages have tests under the detector of their own.
// In the long form it has it.
func demo(t *testing.T) string {
	t.Helper()
	if testkit.Long() {
		return testkit.Command(t, "examples/demo")
	}
	return testkit.PlainCommand(t, "examples/demo")
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
