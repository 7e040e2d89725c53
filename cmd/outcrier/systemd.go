package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// supervisor is systemd, where it has started this process with Type=notify (sd_notify(3)).
// Its zero value stands for none, and gets no messages.
type supervisor struct {
	socket string
	// watchdog is the time after which it kills a process that has not said that
	// it lives; 0 for none.
	watchdog time.Duration
}

func newSupervisor(environ []string) (s supervisor) {
	for _, entry := range environ {
		switch name, value, _ := strings.Cut(entry, "="); name {
		case "NOTIFY_SOCKET":
			s.socket = value
		case "WATCHDOG_USEC":
			if usec, err := strconv.ParseInt(value, 10, 64); err == nil && usec > 0 {
				s.watchdog = time.Duration(usec) * time.Microsecond
			}
		case "WATCHDOG_PID":
			if value != "" && value != strconv.Itoa(os.Getpid()) {
				defer func() { s.watchdog = 0 }() // of a process that started us
			}
		}
	}
	return s
}

// ready, and stopping with the time that the end may take, are for it to go by.
func (s supervisor) ready() {
	s.tell("READY=1\nSTATUS=serving; /readyz tells whether the tail follows")
}

func (s supervisor) stopping(within time.Duration) {
	s.tell(fmt.Sprintf("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

// live says in time that the process lives, for as long as alive returns, until ctx
// ends.
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

// tell does not fail: a supervisor that does not listen acts on its own.
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
