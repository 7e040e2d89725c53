package testkit

import (
	"net/http"
	"os/exec"
	"syscall"
	"testing"
)

// Node is a server as it is deployed: a process of its own, which may be ended and started
// again at the same address.
type Node struct {
	// Address is host:port, and URL the address with its scheme.
	Address, URL string

	program string
	args    []string
	cmd     *exec.Cmd
}

// NewNode returns a node on a migrated database, which Start starts. program is the path of
// outcrier. Everybody may do everything.
func NewNode(t testing.TB, program, database string, args ...string) *Node {
	t.Helper()
	address := FreeAddress(t)
	return &Node{Address: address, URL: "http://" + address, program: program, args: append([]string{
		"serve", "--dev", "--migrate=false", "--database-url", database, "--listen", address, "--log-level", "error",
	}, args...)}
}

// Start starts the process, and ends it with the test.
func (n *Node) Start(t testing.TB) {
	t.Helper()
	cmd := exec.Command(n.program, n.args...) //nolint:gosec,noctx // the test's, which ends it
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.cmd = cmd
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// Ready waits until the node says that it is ready.
func (n *Node) Ready(t testing.TB) {
	t.Helper()
	Eventually(t, "a node is ready", func() bool {
		response, err := http.Get(n.URL + "/readyz") //nolint:noctx // it answers at once or is not there
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// End ends the process by a signal, and waits. SIGTERM must end it well.
func (n *Node) End(t testing.TB, by syscall.Signal) {
	t.Helper()
	_ = n.cmd.Process.Signal(by)
	if err := n.cmd.Wait(); err != nil && by == syscall.SIGTERM {
		t.Errorf("a node that was told to stop ended with %v", err)
	}
}
