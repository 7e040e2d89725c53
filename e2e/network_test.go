package e2e

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
)

// network is what lies between a browser and the server: it can be cut and
// mended. Chromium's own emulation of being offline leaves open streams alone.
type network struct {
	t    *testing.T
	base string // stands for the server's

	mu sync.Mutex
	// isCut has everything vanish that the server sends, isShut every connection end.
	isCut, isShut bool
	conns         []net.Conn
	// lost is what the server has sent since the cut.
	lost bytes.Buffer
}

func newNetwork(t *testing.T, server string) *network {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{t: t, base: "http://" + listener.Addr().String()}
	t.Cleanup(func() {
		listener.Close()
		n.hangUp()
	})
	go func() {
		for {
			browser, err := listener.Accept()
			if err != nil {
				return
			}
			go n.join(browser, strings.TrimPrefix(server, "http://"))
		}
	}()
	return n
}

// join carries bytes both ways until either end hangs up.
func (n *network) join(browser net.Conn, address string) {
	defer browser.Close()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	n.mu.Lock()
	refused := n.isShut
	n.conns = append(n.conns, browser, server)
	n.mu.Unlock()
	if refused {
		return
	}
	go func() {
		defer server.Close()
		pass(server, browser, func(p []byte) []byte { return p })
	}()
	pass(browser, server, n.survives)
}

// pass copies what keep leaves of it.
func pass(to, from net.Conn, keep func([]byte) []byte) {
	buf := make([]byte, 64<<10)
	for {
		read, err := from.Read(buf)
		if _, failed := to.Write(keep(buf[:read])); failed != nil || err != nil {
			return
		}
	}
}

// survives is what arrives: after a cut nothing more than the beginning of an
// event, with its id.
func (n *network) survives(p []byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.isCut {
		return p
	}
	arrived := 0
	if n.lost.Len() == 0 {
		arrived = min(len(p), 100)
	}
	n.lost.Write(p)
	return p[:arrived]
}

// cut drops everything that is sent. Neither end notices.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.isCut = true
	n.lost.Reset()
}

// breakUp waits until the server has sent the event into the void, and then ends
// all connections.
func (n *network) breakUp(id string) {
	n.t.Helper()
	testkit.Eventually(n.t, "the server sends event "+id, func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return bytes.Contains(n.lost.Bytes(), fmt.Appendf(nil, `"id":%q`, id))
	})
	n.hangUp()
}

func (n *network) hangUp() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, conn := range n.conns {
		conn.Close()
	}
	n.conns = nil
}

// shut ends all connections, and every later one at once.
func (n *network) shut() {
	n.mu.Lock()
	n.isShut = true
	n.mu.Unlock()
	n.hangUp()
}

// mend lets through all bytes from now on. Connections that have lost something end: what they
// bring would have no beginning.
func (n *network) mend() {
	n.mu.Lock()
	n.isCut, n.isShut = false, false
	n.mu.Unlock()
	n.hangUp()
}
