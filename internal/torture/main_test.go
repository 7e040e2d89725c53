package torture

import (
	"fmt"
	"os"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
)

// template is the folder that migrated has made.
var template string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	testkit.SideBySide(3)
	code := m.Run()
	_ = os.RemoveAll(template)
	if file := os.Getenv("TORTURE_REPORT"); file != "" && code == 0 {
		if err := findings.write(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}
