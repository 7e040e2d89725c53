package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// supervisor is systemd, where it has started this process with Type=notify (sd_notify(3)).
// Its zero value stands for none, and gets no messages.
type supervisor struct {
	socket string
	// watchdog is the time after which systemd kills a process that does not report to be
	// alive; 0 for none.
	watchdog time.Duration
}

func newSupervisor(environ []string) (s supervisor) {
	s.socket = variable(environ, "NOTIFY_SOCKET")
	usec, err := strconv.ParseInt(variable(environ, "WATCHDOG_USEC"), 10, 64)
	// Another pid is that of a process that started us.
	if pid := variable(environ, "WATCHDOG_PID"); err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		s.watchdog = time.Duration(usec) * time.Microsecond
	}
	return s
}

// ready reports that the node serves; stopping that it ends, and how long that may take.
func (s supervisor) ready() {
	s.tell("READY=1\nSTATUS=serving; /readyz reports whether the tail follows")
}

func (s supervisor) stopping(within time.Duration) {
	s.tell(fmt.Sprintf("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

// live reports in time that the process is alive, as long as alive returns, until ctx ends.
func (s supervisor) live(ctx context.Context, alive func()) error {
	if s.socket == "" || s.watchdog == 0 {
		return nil
	}
	ticker := time.NewTicker(s.watchdog / 3)
	defer ticker.Stop()
	for {
		alive()
		s.tell("WATCHDOG=1")
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tell sends the state, and ignores failures: systemd acts by itself when it hears nothing.
func (s supervisor) tell(state string) {
	if s.socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}
