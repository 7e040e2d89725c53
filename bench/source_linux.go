package main

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// connectFrom sets the address that connections come from, and leaves their port to
// connect(2) (ip(7), IP_BIND_ADDRESS_NO_PORT). bind(2) would look for an unused port, which
// not even a connection that was closed a minute ago has: after some ten thousand of those
// it takes milliseconds, and the crowd waits for itself.
func connectFrom(dialer *net.Dialer, ip net.IP) {
	dialer.LocalAddr = &net.TCPAddr{IP: ip}
	dialer.Control = func(_, _ string, conn syscall.RawConn) (err error) {
		if closed := conn.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		}); closed != nil {
			return closed
		}
		return os.NewSyscallError("setsockopt", err)
	}
}
