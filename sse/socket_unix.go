//go:build unix && !linux

package sse

import (
	"errors"
	"syscall"
)

// writeNow writes to a socket that net has made non-blocking.
func writeNow(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Write(fd, p)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return 0, nil
		default:
			return max(0, n), err
		}
	}
}
