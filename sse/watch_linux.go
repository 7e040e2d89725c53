package sse

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// watch notices readers that close their connections (epoll(7)): a goroutine that reads
// from each would cost as much memory as all the rest of a stream.
type watch struct {
	// epoll is itself waited for by the runtime's poller.
	epoll *os.File
	fd    int

	mu sync.Mutex
	// watched are by file descriptor; count distinguishes those that had the same one.
	watched map[int32]watched
	count   int32
}

type watched struct {
	count int32
	listener
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

// add calls the listener when the other side sends something, if the listener wants that,
// and when it closes. The caller calls remove before it closes fd.
func (w *watch) add(fd int, l listener) (remove func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	event := unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd), Pad: w.count}
	if l.received != nil {
		event.Events = unix.EPOLLIN | unix.EPOLLRDHUP // again and again, while there is more
	}
	if err := unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	w.watched[int32(fd)] = watched{w.count, l}
	count := w.count
	return func() { w.remove(int32(fd), count) }, nil
}

func (w *watch) remove(fd, count int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watched[fd].count != count {
		return // it was dropped, and may be another one's by now
	}
	w.drop(fd)
}

// run waits until close.
func (w *watch) run() {
	raw, err := w.epoll.SyscallConn()
	if err != nil {
		return // closed already
	}
	events := make([]unix.EpollEvent, 128)
	sent := make([]byte, 16<<10)
	_ = raw.Read(func(fd uintptr) bool {
		for {
			n, err := unix.EpollWait(int(fd), events, 0)
			if n <= 0 && err != unix.EINTR {
				return false // wait for more
			}
			for _, e := range events[:max(0, n)] {
				w.notify(e, sent)
			}
		}
	})
}

// notify calls the listener of a connection, with the bytes that can be read at once.
func (w *watch) notify(e unix.EpollEvent, sent []byte) {
	to, n, left := w.read(e, sent)
	switch {
	case left:
		to.left()
	case n > 0:
		to.received(sent[:n])
	}
}

// read reads under the lock, without which the connection could be closed meanwhile, and the
// descriptor be another one's.
func (w *watch) read(e unix.EpollEvent, sent []byte) (to watched, n int, left bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	to, ok := w.watched[e.Fd]
	if !ok || to.count != e.Pad {
		return to, 0, false
	}
	if to.received == nil {
		return to, 0, true
	}
	n, err := unix.Read(int(e.Fd), sent) // net has made it non-blocking
	switch {
	case n > 0, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return to, n, false
	}
	w.drop(e.Fd)
	return to, 0, true
}

// drop ends the watch of a descriptor. Under the lock.
func (w *watch) drop(fd int32) {
	delete(w.watched, fd)
	_ = unix.EpollCtl(w.fd, unix.EPOLL_CTL_DEL, int(fd), nil) // closing it does the same
}

func (w *watch) close() { _ = w.epoll.Close() }
