// Package testkit has helpers that the tests of several packages share: wait for a condition,
// find a program that is installed, run the command outcrier as a process.
package testkit

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/pgserver"
)

// Deadline is how long a test waits for anything: long enough for a busy machine.
const Deadline = time.Minute

// Long reports whether tests that have a long form run it: make test-long sets TEST_LONG. The
// short form, which make test runs, holds the same promise with fewer histories, or for less time.
func Long() bool { return os.Getenv("TEST_LONG") != "" }

// SideBySide sets how many parallel tests of this binary run at the same time; -parallel on the
// command line overrides it. It is for a TestMain, before Run. Go's default is the number of
// processors, and these have little to do while tests wait for a time to pass or for a database.
func SideBySide(tests int) {
	if err := flag.Set("test.parallel", strconv.Itoa(tests)); err != nil {
		panic(err)
	}
}

// Eventually waits until is returns true. Where it does not within Deadline, the test fails
// and names the condition.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	Within(t, what, Deadline, is)
}

// Within is Eventually with a limit of its own.
func Within(t testing.TB, what string, limit time.Duration, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); Pause(began) {
		if time.Since(began) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// Pause is the pause before a test looks again for what it has waited for since then. It grows
// with the wait: to look is work too, for a server or a browser that has enough to do.
func Pause(began time.Time) {
	time.Sleep(min(max(time.Since(began)/8, 2*time.Millisecond), 100*time.Millisecond))
}

// Program returns the path of the first program that is installed. A name may be a path, and a
// pattern. Programs of sbin are found though it is not on everybody's path.
func Program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, name := range []string{name, "/usr/sbin/" + name} {
			if path, err := exec.LookPath(name); err == nil {
				return path
			}
		}
		if found, _ := filepath.Glob(name); len(found) > 0 {
			return found[0]
		}
	}
	Missing(t, "none of %q is installed", names)
	return ""
}

// Missing skips a test for which something is missing on this machine. In CI the test fails.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set, but "+format, args...)
	}
	t.Skipf(format, args...)
}

// FreeAddress returns an address on loopback whose port was free just now. It is below the ports
// that the system gives to who asks for any, and no other process of tests has it, so it stays
// free until somebody binds it: a test's proxy could otherwise get the port of the server that it
// is for, and pass everything to itself.
func FreeAddress(t testing.TB) string {
	t.Helper()
	first, _ := ports()
	for range portsOfProcess {
		address := fmt.Sprintf("127.0.0.1:%d", first+1+int(lastPort.Add(1)%(portsOfProcess-1)))
		listener, err := net.Listen("tcp", address) //nolint:noctx // it takes no time
		if err == nil {
			_ = listener.Close()
			return address
		}
	}
	t.Fatal("none of this process's ports is free")
	return ""
}

const portsOfProcess = 500

// lastPort counts the ports that this process has tried.
var lastPort atomic.Uint32

// ports returns the first of the ports that only this process of tests uses, and the listener there
// that keeps others from them as long as the process lives.
var ports = sync.OnceValues(func() (first int, held net.Listener) {
	for {
		first = 10_000 + portsOfProcess*rand.IntN(40)                      //nolint:gosec // ports are no secret
		held, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first)) //nolint:noctx // it takes no time
		if err == nil {
			return first, held
		}
	}
})

// Folder returns a temporary folder that other accounts can enter, like that of Postgres: into
// root's t.TempDir they can't. It is in memory where there is room: Postgres syncs a cluster
// that is kept file by file.
func Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(cmp.Or(pgserver.MemoryFolder(), "/tmp"), "outcrier-test-")
	if err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		err = os.Chmod(dir, 0o755) //nolint:gosec // that is what it is for
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
