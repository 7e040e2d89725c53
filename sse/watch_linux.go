package sse

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// watch notices the readers who close their connections (epoll(7)): a goroutine
// that reads from each would cost as much memory as all the rest of a stream.
type watch struct {
	// epoll is itself waited for by the runtime's poller.
	epoll *os.File
	fd    int

	mu sync.Mutex
	// watched are by file descriptor; count tells those apart that had the same.
	watched map[int32]watched
	count   int32
}

type watched struct {
	count int32
	left  func()
}

func newWatch() (*watch, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &watch{epoll: os.NewFile(uintptr(fd), "epoll"), fd: fd, watched: map[int32]watched{}}, nil
}

// add has left called when the other side closes. The caller calls remove before
// it closes fd.
func (w *watch) add(fd int, left func()) (remove func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	event := unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd), Pad: w.count}
	if err := unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	w.watched[int32(fd)] = watched{w.count, left}
	return func() { w.remove(int32(fd)) }, nil
}

func (w *watch) remove(fd int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.watched, fd)
	_ = unix.EpollCtl(w.fd, unix.EPOLL_CTL_DEL, int(fd), nil) // closing it does the same
}

// run waits until close.
func (w *watch) run() {
	raw, err := w.epoll.SyscallConn()
	if err != nil {
		return // closed already
	}
	events := make([]unix.EpollEvent, 128)
	_ = raw.Read(func(fd uintptr) bool {
		for {
			n, err := unix.EpollWait(int(fd), events, 0)
			if n <= 0 && err != unix.EINTR {
				return false // wait for more
			}
			for _, e := range events[:max(0, n)] {
				w.mu.Lock()
				gone, ok := w.watched[e.Fd]
				w.mu.Unlock()
				if ok && gone.count == e.Pad {
					gone.left()
				}
			}
		}
	})
}

func (w *watch) close() { _ = w.epoll.Close() }
