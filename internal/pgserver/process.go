//go:build unix

package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// leash starts a watcher and becomes Postgres. The watcher reads from file 3, a pipe whose
// other end only our parent holds: a line dismisses it, the end of the file means that the
// parent is dead, however it died. Then it shuts Postgres down, less and less gently, and
// removes the folder $1 if there is one. File 4 is Postgres' sign of life, and not the
// watcher's.
const leash = `(
	trap '' HUP INT QUIT TERM
	read -r dismissed && exit
	for signal in INT QUIT KILL; do
		kill -s $signal $$ || break
		tenths=100
		while [ $tenths -gt 0 ] && kill -0 $$; do sleep 0.1; tenths=$((tenths - 1)); done
	done
	[ -z "$1" ] || rm -rf -- "$1"
) <&3 3<&- 4>&- >/dev/null 2>&1 &
shift
exec "$@" 3<&-`

// process is a postmaster and its backends.
type process struct {
	cmd      *exec.Cmd
	leash    *os.File // write end; see the script
	life     *os.File // read end of a pipe that all processes of this Postgres inherit: it ends with the last of them
	log      string
	logStart int64
}

// held keeps what runs reachable: a leash that is collected as garbage is let go
// of, and the watcher would end a server that its user still talks to.
var held sync.Map

// spawn starts Postgres.
func (s *Server) spawn() (*process, error) {
	// Nothing may follow a link here: the folder can belong to the account, and we may be root.
	log, err := os.OpenFile(s.LogFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	defer log.Close()
	logStart, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	leashEnd, leashHeld, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer leashEnd.Close()
	life, lifeEnd, err := os.Pipe()
	if err != nil {
		leashHeld.Close()
		return nil, err
	}
	defer lifeEnd.Close()

	doomed := ""
	if s.temporary {
		doomed = s.folder
	}
	args := []string{"-c", leash, "leash", doomed, filepath.Join(s.binaries.folder, "postgres"), "-D", s.data()}
	cmd := s.account.command(context.Background(), "/bin/sh", append(args, s.options()...)...)
	cmd.Env = append(cmd.Env, s.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{leashEnd, lifeEnd} // 3 and 4
	if err := cmd.Start(); err != nil {
		leashHeld.Close()
		life.Close()
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	p := &process{cmd, leashHeld, life, log.Name(), logStart}
	held.Store(p, nil)
	return p, nil
}

// options are Postgres' command line. Of a setting that comes twice, the last wins.
func (s *Server) options() []string {
	options := []string{
		"-c", "timezone=UTC", "-c", "log_timezone=UTC",
		"-c", "unix_socket_directories=", // no path to be too long, or to be found by others
	}
	for _, name := range slices.Sorted(maps.Keys(s.settings)) {
		options = append(options, "-c", name+"="+s.settings[name])
	}
	return append(options,
		"-c", "lc_messages=C", "-c", "logging_collector=off", "-c", "log_destination=stderr", // we read the log
		"-c", "listen_addresses="+loopback, "-c", "port="+strconv.Itoa(s.port))
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// gone waits until no process of this Postgres is left, for no longer than limit.
func (p *process) gone(limit time.Duration) bool {
	if err := p.life.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return false
	}
	_, err := p.life.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

// stop shuts down fast, and when that takes too long, immediately.
func (p *process) stop() error {
	p.cmd.Process.Signal(syscall.SIGINT)
	if !p.gone(stopLimit) {
		p.cmd.Process.Signal(syscall.SIGQUIT)
	}
	return p.release()
}

// kill ends all processes as a crash does.
func (p *process) kill() error {
	p.cmd.Process.Signal(syscall.SIGSTOP) // lest it forks while we look
	for _, child := range childrenOf(context.Background(), p.pid()) {
		syscall.Kill(child, syscall.SIGKILL)
	}
	p.cmd.Process.Kill()
	return p.release()
}

// release waits for the end and then dismisses the watcher. Only after that the postmaster is reaped, so that its number
// can't have passed to another process that the watcher would then kill.
func (p *process) release() error {
	if !p.gone(stopLimit) {
		return fmt.Errorf("some of its processes still run after %v", stopLimit)
	}
	held.Delete(p)
	_, _ = p.leash.WriteString("dismissed\n") // fails when the watcher was killed too
	p.leash.Close()
	p.life.Close()
	_ = p.cmd.Wait() // why it ended is in its log
	return nil
}

// logTail is what this process has logged, if long its last lines.
func (p *process) logTail() string {
	file, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	text, _ := io.ReadAll(io.NewSectionReader(file, p.logStart, 1<<20))
	return lastLines(text)
}

func lastLines(text []byte) string {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-20):], []byte("\n")))
}
