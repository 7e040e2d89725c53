package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
)

func TestSystemd_UnitIsRightAndHardened(t *testing.T) {
	analyze := testkit.Program(t, "systemd-analyze")
	// The unit with a binary that is there.
	unit := strings.ReplaceAll(read(t, "systemd/outcrier.service"), "/usr/local/bin/outcrier", binary(t))
	path := filepath.Join(t.TempDir(), "outcrier.service")
	if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("verify: %v: %s", err, out)
	}
	// In tenths; 96 is a unit that nothing is forbidden to.
	if out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=15", "--no-pager", path).CombinedOutput(); err != nil {
		t.Errorf("security: %v: %s", err, out)
	}
}
