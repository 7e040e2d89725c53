package examples

import (
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
)

// The programs that embed a node are a module of their own, as an application is: it
// compiles with exported identifiers alone, and its tests pass. make check vets it.
func TestEmbed(t *testing.T) {
	cmd := testkit.Go("test", "-vet=off", "-ldflags=-s -w", "./...")
	cmd.Dir = "embed"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}
