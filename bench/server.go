package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// server is a process that the bench has started, so that its CPU and memory are
// those of the server alone: an Outcrier, or a bare one.
type server struct {
	// command is followed by flags for where to listen and what to log.
	command []string
	// database is where its queries go, direct where its tail listens.
	database, direct string
	log              *slog.Logger

	base  string // its address; the port stays the same over restarts
	cmd   *exec.Cmd
	ended chan error
}

// startLimit is how long a server may take until it is ready.
const startLimit = 30 * time.Second

// stopLimit is how long it may take to end.
const stopLimit = 15 * time.Second

func startServer(ctx context.Context, command []string, database string, log *slog.Logger) (*server, error) {
	s := &server{command: command, database: database, direct: database, log: log, base: "http://127.0.0.1:0"}
	return s, s.start(ctx)
}

// startOutcrier starts one that serves a database.
func (b *bench) startOutcrier(ctx context.Context, database string) (*server, error) {
	return startServer(ctx, b.outcrierCommand(), database, b.Log)
}

func (b *bench) outcrierCommand() []string {
	return append(slices.Clone(b.Command), "--dev", "--drain", "0s")
}

// startBare starts a bare server on the scratch schema.
func (b *bench) startBare(ctx context.Context) (*server, error) {
	return startServer(ctx, append(slices.Clone(b.BareCommand), "--schema", b.schema()), b.target.database, b.Log)
}

func (s *server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not ready after %v", startLimit))
	defer cancel()
	stdout, err := s.spawn()
	if err == nil {
		err = s.ready(ctx, stdout)
	}
	if err != nil {
		return fmt.Errorf("start a server: %w", errors.Join(err, s.stop()))
	}
	return nil
}

// spawn starts the process.
func (s *server) spawn() (io.Reader, error) {
	args := append(slices.Clone(s.command[1:]), "--listen", strings.TrimPrefix(s.base, "http://"), "--log-level", "warn")
	// Not bound to a context: it is stopped in good order.
	cmd := exec.Command(s.command[0], args...) //nolint:gosec,noctx // the command is the caller's
	cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "OUTCRIER_") || strings.HasPrefix(entry, "DATABASE_URL=")
	})
	// By the environment, because every user sees a command line.
	cmd.Env = append(cmd.Env, "OUTCRIER_DATABASE_URL="+s.database, "OUTCRIER_DIRECT_URL="+s.direct)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = apart()
	cmd.WaitDelay = stopLimit
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// The child is ended with the thread that started it.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	s.cmd, s.ended = cmd, ended
	return stdout, nil
}

// ready waits until the server has said where it is, and follows the outbox.
func (s *server) ready(ctx context.Context, stdout io.Reader) error {
	found := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			// stream curl -N 'http://127.0.0.1:8080/events?topic=**'
			if _, rest, ok := strings.Cut(lines.Text(), "'http://"); ok {
				address, _, _ := strings.Cut(rest, "/")
				found <- "http://" + address
				break
			}
		}
		_, _ = io.Copy(io.Discard, stdout)
	}()
	select {
	case s.base = <-found:
	case err := <-s.ended:
		s.cmd = nil
		return fmt.Errorf("it ended at once: %w", err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/readyz", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *server) pid() int {
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// stop is nothing for a nil server, or one that has ended.
func (s *server) stop() error {
	if s == nil || s.cmd == nil {
		return nil
	}
	process := s.cmd.Process
	process.Signal(os.Interrupt)
	limit := time.AfterFunc(stopLimit, func() { process.Kill() })
	defer limit.Stop()
	err := <-s.ended
	s.cmd = nil
	if err != nil {
		return fmt.Errorf("the server ended badly: %w", err)
	}
	return nil
}

// restart makes a server that has done nothing yet.
func (s *server) restart(ctx context.Context) error {
	if err := s.stop(); err != nil {
		return err
	}
	return s.start(ctx)
}
