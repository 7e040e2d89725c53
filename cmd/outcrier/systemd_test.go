package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// systemd is a socket that returns the messages that it receives.
func systemd(t *testing.T) (path string, told func() string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return path, func() string {
		t.Helper()
		_ = socket.SetReadDeadline(time.Now().Add(10 * time.Second))
		text := make([]byte, 1000)
		n, err := socket.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(text[:n])
	}
}

func TestSupervisor_IsToldAsSystemdWantsIt(t *testing.T) {
	path, told := systemd(t)
	s := newSupervisor([]string{"HOME=/", "NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=30000", "WATCHDOG_PID=" + strconv.Itoa(os.Getpid())})
	s.ready()
	if got := told(); !strings.HasPrefix(got, "READY=1\n") {
		t.Errorf("ready is %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	hangs := make(chan struct{})
	beats := 0
	done := make(chan error, 1)
	go func() {
		done <- s.live(ctx, func() {
			if beats++; beats == 4 {
				<-hangs
			}
		})
	}()
	for range 3 {
		if got := told(); got != "WATCHDOG=1" {
			t.Errorf("alive is %q", got)
		}
	}
	// From here on it hangs, and nothing more is said for it.
	s.stopping(3 * time.Second)
	if got := told(); !strings.HasPrefix(got, "STOPPING=1\n") || !strings.Contains(got, "EXTEND_TIMEOUT_USEC=3000000") {
		t.Errorf("stopping is %q", got)
	}
	cancel()
	close(hangs)
	if err := <-done; err == nil {
		t.Error("it ends without the cause of its context")
	}
}

func TestSupervisor_IsNoneWithoutASocketOrForAnother(t *testing.T) {
	for _, environ := range [][]string{nil, {"WATCHDOG_USEC=1000"}, {"NOTIFY_SOCKET=/nowhere", "WATCHDOG_USEC=1000", "WATCHDOG_PID=1"}} {
		s := newSupervisor(environ)
		s.ready()
		s.stopping(0)
		if err := s.live(t.Context(), func() { t.Error("it is asked") }); err != nil {
			t.Error(err)
		}
	}
}

func TestServe_TellsSystemdOfItsLife(t *testing.T) {
	path, told := systemd(t)
	t.Cleanup(func() { // after the server's end
		if got := told(); !strings.HasPrefix(got, "STOPPING=1\n") {
			t.Errorf("the last is %q", got)
		}
	})
	serve(t, []string{"OUTCRIER_JWT_SECRET=" + secret, "NOTIFY_SOCKET=" + path})
	if got := told(); !strings.HasPrefix(got, "READY=1\n") {
		t.Errorf("the first is %q", got)
	}
}
