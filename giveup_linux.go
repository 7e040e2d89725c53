package outcrier

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// giveUpAfter ends a connection after that long without an acknowledgement of sent or
// waiting data (tcp(7), TCP_USER_TIMEOUT).
func giveUpAfter(conn *net.TCPConn, silence time.Duration) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
	})
	if err == nil {
		err = failed
	}
	return err
}
