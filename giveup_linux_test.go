package outcrier_test

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outcrier/outcrier"
)

// A reader that is gone without a word has acknowledged nothing since.
func TestNode_GivesUpSilentConnections(t *testing.T) {
	node := newNode(t, outcrier.Config{Open: true, Stall: 3500 * time.Millisecond})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	node.ConnContext(t.Context(), conn)
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var timeout int
	if failed := raw.Control(func(fd uintptr) { timeout, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	if timeout != 7000 {
		t.Errorf("what is not acknowledged is given up after %d ms, want 7000", timeout)
	}
}
