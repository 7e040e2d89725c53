package torture

import (
	"fmt"
	"os"
	"testing"
)

// scratch is a folder of this run of the tests.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "outcrier-torture-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	code := m.Run()
	if file := os.Getenv("TORTURE_REPORT"); file != "" && code == 0 {
		if err := findings.write(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}
