package torture

import (
	"fmt"
	"os"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
)

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if os.Getenv("TORTURE_FAULTS") == "" { // make faults measures how long a recovery takes
		testkit.SideBySide(4) // each has a Postgres of its own, and waits for most of its time
	}
	code := m.Run()
	if file := os.Getenv("TORTURE_REPORT"); file != "" && code == 0 {
		if err := findings.write(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}
