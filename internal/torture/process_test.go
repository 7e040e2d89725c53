package torture

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/badnet"
	"github.com/outcrier/outcrier/internal/pgserver"
)

// process is a node as it is deployed: a process of its own.
type process struct {
	t      *testing.T
	args   []string
	listen string
	url    string
	log    string
	// command is the binary.
	command func() (string, error)
	cmd     *exec.Cmd
	ended   chan error
}

// command is the command outcrier, built once for this run of the tests, with the race
// detector if they are. plain is built without: the detector's own memory is many times
// the program's.
var (
	command = sync.OnceValues(func() (string, error) {
		info, ok := debug.ReadBuildInfo()
		if ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
			return build("outcrier-race", "-race")
		}
		return plain()
	})
	plain = sync.OnceValues(func() (string, error) { return build("outcrier") })
)

func build(name string, flags ...string) (string, error) {
	// What the binary is made of, go test can't know; but from its cache it gives
	// no result of a test that has looked at a folder which changed since.
	err := filepath.WalkDir("../..", func(_ string, entry fs.DirEntry, err error) error {
		if name := entry.Name(); err == nil && entry.IsDir() && name != ".." && (name[0] == '.' || name == "node_modules") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		return "", err
	}
	binary := filepath.Join(scratch, name)
	args := slices.Concat([]string{"build", "-o", binary}, flags, []string{"../../cmd/outcrier"})
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the command: %w\n%s", err, out)
	}
	return binary, nil
}

// newProcess starts a node on a database, which need not be there, and ends it
// with the test. Its log is looked through then.
func newProcess(t *testing.T, database string, args ...string) *process {
	t.Helper()
	return newProcessOf(t, command, database, args...)
}

func newProcessOf(t *testing.T, command func() (string, error), database string, args ...string) *process {
	t.Helper()
	address := freeAddress(t)
	log := filepath.Join(logFolder(t), fmt.Sprintf("%s-%s.log", strings.ReplaceAll(t.Name(), "/", "_"), address[strings.LastIndex(address, ":")+1:]))
	p := &process{t: t, command: command, listen: address, url: "http://" + address, log: log, args: append([]string{
		"serve", "--dev", "--migrate=false", "--database-url", database, "--listen", address,
		"--retention", "0", "--retry", "100ms", "--heartbeat", "300ms", "--stall", "2s", "--drain", "300ms", "--ring", "1MiB", "--queue", "64",
	}, args...)}
	p.start()
	t.Cleanup(func() {
		p.kill()
		p.inspect()
	})
	return p
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
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
	binary, err := p.command()
	if err != nil {
		p.t.Fatal(err)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(binary, p.args...)
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == "DATABASE_URL" || strings.HasPrefix(name, "OUTCRIER_")
	})
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
	eventually(p.t, "a node answers", 20*time.Second, p.answers)
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Errorf("a node that was told to end ended with %v", err)
		}
		p.cmd = nil
	case <-time.After(20 * time.Second):
		p.t.Errorf("a node that was told to end has not within 20 s")
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

// eventually waits until the condition that what describes is true.
func eventually(t *testing.T, what string, within time.Duration, is func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// need is the path of a foreign program. In CI it has to be there.
func need(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		if found, _ := filepath.Glob(name); len(found) > 0 {
			return found[0]
		}
	}
	without(t, "none of %q is installed", names)
	return ""
}

// without skips a test that can't be made here. In CI it fails.
func without(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set, but "+format, args...)
	}
	t.Skipf(format, args...)
}

// tool is the path of one of Postgres's own programs, of the server's version. What npm
// has of Postgres has the server alone.
func tool(t *testing.T, server *pgserver.Server, name string) string {
	t.Helper()
	path := filepath.Join(server.Bin(), name)
	if _, err := os.Stat(path); err != nil {
		without(t, "%v", err)
	}
	return path
}

// probe appends an event that all steady readers follow.
func probe(ctx context.Context, url string, n int) error {
	conn, err := connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(ctx, `INSERT INTO outbox (topic, type, payload) VALUES ('`+probeTopic+`', 'torture.probe', $1)`, payload{Chain: "probe", N: n}.String())
	return err
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
