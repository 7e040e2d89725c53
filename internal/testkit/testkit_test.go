package testkit

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Test binaries that run at the same time have one file, which is linked once.
func TestCommand_IsBuiltOnceForAllTests(t *testing.T) {
	paths := make([]string, 4)
	var all sync.WaitGroup
	for i := range paths {
		all.Go(func() { paths[i] = PlainCommand(t, "cmd/outcrier") })
	}
	all.Wait()
	before, err := os.Stat(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	clear(done) // as another test binary has it
	again := PlainCommand(t, "cmd/outcrier")
	after, err := os.Stat(again)
	if err != nil {
		t.Fatal(err)
	}
	if again != paths[0] || paths[1] != again || !os.SameFile(before, after) {
		t.Errorf("%v is there, and then %s", paths, again)
	}
	out, err := exec.Command(again, "--help").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "serve") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestProgram_IsFoundWhereItIsInstalled(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/lib-1.so", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Program(t, "no such program", dir+"/lib-*.so"); got != dir+"/lib-1.so" {
		t.Errorf("found is %s", got)
	}
	t.Setenv("CI", "")
	skipped := t.Run("missing", func(t *testing.T) {
		defer func() {
			if !t.Skipped() {
				t.Error("a test without its program is not skipped")
			}
		}()
		Program(t, "no such program")
	})
	if !skipped {
		t.Error("a missing program fails the test outside CI")
	}
}
