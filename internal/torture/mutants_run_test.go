//go:build mutants

package torture

import (
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// outcome is what a torture says when a promise is broken.
var outcome = regexp.MustCompile(`(?m)^.*(was lost|came twice|order: event|the end never came|should not have had|was erased|given were .* not).*$`)

// TestMutants sees the torture, or the history that a test of sse's or hub's makes by hand,
// fail for every mutant, and for the promise's sake.
func TestMutants(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			test := exec.Command("go", "test", "-overlay", m.overlay(t, root), "-count=1", "-run", "TestTorture$|TestHistory|TestJoin_(AheadThrough|EventCommitted)|TestSubscription_RecallMeets", "./internal/torture", "./sse", "./sse/hub")
			test.Dir = root
			test.Env = append(os.Environ(), "TORTURE_EVENTS="+cmp.Or(os.Getenv("TORTURE_EVENTS"), "20000"))
			output, err := test.CombinedOutput()
			if err == nil {
				t.Fatalf("nobody noticed:\n%s", output)
			}
			found := outcome.FindAll(output, 3)
			if found == nil {
				t.Fatalf("failed, but not for a broken promise:\n%s", output)
			}
			for _, line := range found {
				t.Logf("%s", line)
			}
		})
	}
}

// overlay applies the mutant to a folder of the test, and returns the file for go's
// flag -overlay.
func (m mutant) overlay(t *testing.T, root string) string {
	t.Helper()
	folder := t.TempDir()
	overlay, err := json.Marshal(map[string]any{"Replace": m.apply(t, root, folder)})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
