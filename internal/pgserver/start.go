//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	loopback = "127.0.0.1"

	// startLimit is how long Postgres may take until it accepts connections, crash recovery included.
	startLimit = time.Minute

	// orphanLimit is how long a Postgres whose parent was killed may take to end, before it is taken for one that
	// somebody runs on our folder by other means.
	orphanLimit = 15 * time.Second

	pollEvery = 10 * time.Millisecond
)

// start runs Postgres until it accepts connections. What passes by itself is tried again: a port that another process
// was faster to take, and backends that outlive their killed postmaster for as long as their query computes.
func (s *Server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not ready within %v", startLimit))
	defer cancel()
	if err := s.awaitOrphan(ctx); err != nil {
		return err
	}

	fixed := s.port != 0
	last := s.lastPort()
	for {
		if !fixed {
			var err error
			if last != 0 && !portTaken(ctx, last) {
				s.port = last
			} else if s.port, err = freePort(ctx); err != nil {
				return err
			}
			last = 0
		}
		p, err := s.spawn()
		if err != nil {
			return err
		}
		if err = s.ready(ctx, p); err == nil {
			s.process = p
			s.keepPort()
			s.log.Info("private postgres started", "port", s.port, "data", s.folder, "version", s.binaries.version)
			return nil
		}

		exited := errors.Is(err, errExited)
		err = fmt.Errorf("%w; the end of its log:\n%s", err, p.logTail())
		if stopErr := p.stop(); stopErr != nil {
			return errors.Join(err, stopErr)
		}
		orphans := strings.Contains(err.Error(), "is still in use") // "pre-existing shared memory block … is still in use"
		if !exited || !orphans && !portTaken(ctx, s.port) {
			return err
		}
		select {
		case <-time.After(10 * pollEvery):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// awaitOrphan waits for a Postgres on our folder that is ending because its parent was killed.
func (s *Server) awaitOrphan(ctx context.Context) error {
	file := filepath.Join(s.data(), "postmaster.pid")
	for deadline := time.Now().Add(orphanLimit); ; {
		pid, _ := postmaster(s.data())
		switch {
		case pid == 0 || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH):
			return nil
		case !strings.Contains(commandOf(ctx, pid), "postgres"):
			// The number went to another program, as it easily does in containers. Postgres would refuse to start.
			if err := os.Remove(file); !errors.Is(err, os.ErrNotExist) {
				return err
			}
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("data folder %s is in use by postgres process %d", s.folder, pid)
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// postmaster reads from Postgres' lock file which process runs on the data, 0 for none, and in which state it is.
func postmaster(data string) (pid int, status string) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0, ""
	}
	lines := strings.Split(string(text), "\n")
	pid, _ = strconv.Atoi(lines[0])
	if len(lines) > 7 {
		status = strings.TrimSpace(lines[7])
	}
	return pid, status
}

var errExited = errors.New("postgres ended at once")

// ready waits until a login works. The lock file is asked first: another server may have got our port, and would answer.
func (s *Server) ready(ctx context.Context, p *process) error {
	for {
		if p.gone(pollEvery) {
			return errExited
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		pid, status := postmaster(s.data())
		if pid != p.pid() || status != "ready" && status != "standby" {
			continue
		}
		conn, err := pgconn.Connect(ctx, s.URL(""))
		if err == nil {
			conn.Close(ctx)
			return nil
		}
		var refused *pgconn.PgError
		if errors.As(err, &refused) && strings.HasPrefix(refused.Code, "28") { // the password was changed
			return fmt.Errorf("log in as %s: %w", superuser, err)
		}
	}
}

// portFile, in the data folder, has the port of the last run, so that a URL that was pasted or saved goes on working.
const portFile = "port"

// lastPort is the port of the last run on this folder, 0 where there was none.
func (s *Server) lastPort() int {
	text, err := os.ReadFile(filepath.Join(s.folder, portFile))
	if err != nil {
		return 0
	}
	port, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 16)
	if err != nil {
		return 0
	}
	return int(port)
}

// keepPort notes the port for the next run. Without the note the server is as good, and the next run has another port.
func (s *Server) keepPort() {
	if s.temporary {
		return
	}
	if err := os.WriteFile(filepath.Join(s.folder, portFile), []byte(strconv.Itoa(s.port)), 0o600); err != nil {
		s.log.Warn("the port is not kept for the next start", "data", s.folder, "err", err)
	}
}

func freePort(ctx context.Context) (int, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

func portTaken(ctx context.Context, port int) bool {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
	if err != nil {
		return true
	}
	listener.Close()
	return false
}
