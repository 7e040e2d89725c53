package torture

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/badnet"
	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/internal/testkit"
)

// process is a node as it is deployed: a process of its own.
type process struct {
	t      *testing.T
	args   []string
	listen string
	url    string
	log    string
	// env are variables, as name=value, in addition to those of the tests.
	env []string
	// program is the path of outcrier.
	program string
	cmd     *exec.Cmd
	ended   chan error
}

// raced is the command outcrier, with the race detector if the tests have it, and plain the
// one without.
func raced(t *testing.T) string { t.Helper(); return testkit.Command(t, "cmd/outcrier") }
func plain(t *testing.T) string { t.Helper(); return testkit.PlainCommand(t, "cmd/outcrier") }

// racedAtLength returns raced in the long form of the tests, and plain in the short one: for a second
// node, where the first is raced and meets the same faults.
func racedAtLength(t *testing.T) string {
	t.Helper()
	if testkit.Long() {
		return raced(t)
	}
	return plain(t)
}

// newProcess starts a node on a database, which need not be there, and ends it
// with the test. Its log is looked through then.
func newProcess(t *testing.T, database string, args ...string) *process {
	t.Helper()
	return newProcessOf(t, raced(t), database, args...)
}

func newProcessOf(t *testing.T, program, database string, args ...string) *process {
	t.Helper()
	return newProcessIn(t, nil, program, database, args...)
}

func newProcessIn(t *testing.T, env []string, program, database string, args ...string) *process {
	t.Helper()
	address := testkit.FreeAddress(t)
	log := filepath.Join(logFolder(t), fmt.Sprintf("%s-%s.log", strings.ReplaceAll(t.Name(), "/", "_"), address[strings.LastIndex(address, ":")+1:]))
	p := &process{t: t, env: env, program: program, listen: address, url: "http://" + address, log: log, args: append([]string{
		"serve", "--dev", "--migrate=false", "--database-url", database, "--listen", address,
		"--retention", "0", "--retry", "100ms", "--heartbeat", "300ms", "--stall", "2s", "--drain", "300ms", "--replay-buffer", "1MiB", "--queue", "64",
	}, args...)}
	p.start()
	t.Cleanup(func() {
		p.kill()
		p.inspect()
	})
	return p
}

func logFolder(t *testing.T) string {
	if folder := os.Getenv("TORTURE_LOG"); folder != "" {
		return folder
	}
	return t.TempDir()
}

// start does not wait for anything but the process.
func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(p.program, p.args...)
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == "DATABASE_URL" || strings.HasPrefix(name, "OUTCRIER_")
	}), p.env...)
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = dieWithParent()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan<- error) { ended <- cmd.Wait() }(p.cmd, p.ended)
}

// kill is kill -9.
func (p *process) kill() {
	if p.cmd != nil {
		p.cmd.Process.Kill()
		_ = p.wait()
		p.cmd = nil
	}
}

func (p *process) wait() error { return <-p.ended }

// drain is what a deployment does: SIGTERM, and wait for the end. A process that
// was started a moment ago has no handler for signals yet and would die of it.
func (p *process) drain() {
	p.t.Helper()
	testkit.Eventually(p.t, "a node answers", p.answers)
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Errorf("a node that was told to end ended with %v", err)
		}
		p.cmd = nil
	case <-time.After(testkit.Deadline):
		p.t.Errorf("a node that was told to end has not within %v", testkit.Deadline)
		p.kill()
	}
}

// answers reports whether the node takes requests, ready or not.
func (p *process) answers() bool {
	response, err := http.Get(p.url + "/healthz")
	if err != nil {
		return false
	}
	response.Body.Close()
	return true
}

// ready reports whether the node says so.
func (p *process) ready() bool {
	response, err := http.Get(p.url + "/readyz")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// inspect finds in the log what must not be there.
func (p *process) inspect() {
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Error(err)
	}
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte("level=ERROR")) || bytes.Contains(line, []byte("DATA RACE")) || bytes.HasPrefix(line, []byte("panic: ")) {
			p.t.Errorf("the log of a node: %s", line)
		}
	}
	if p.t.Failed() {
		lines := bytes.Split(text, []byte("\n"))
		p.t.Logf("the end of the log of a node:\n%s", bytes.Join(lines[max(0, len(lines)-30):], []byte("\n")))
	}
}

// newNetwork puts a bad network before an address.
func newNetwork(t *testing.T, address string) *badnet.Proxy {
	t.Helper()
	p, err := badnet.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// tool is the path of one of Postgres's own programs, of the server's version. What npm
// has of Postgres has the server alone.
func tool(t *testing.T, server *pgserver.Server, name string) string {
	t.Helper()
	path := filepath.Join(server.Bin(), name)
	if _, err := os.Stat(path); err != nil {
		testkit.Missing(t, "%v", err)
	}
	return path
}

// attempt runs statements, and gives up soon.
func attempt(ctx context.Context, url, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(ctx, statement)
	return err
}
