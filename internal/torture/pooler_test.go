package torture

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
)

// pooler is a PgBouncer in transaction mode.
type pooler struct {
	t       *testing.T
	address string
	file    string

	mu    sync.Mutex
	cmd   *exec.Cmd     // nil while there is to be none
	ended chan struct{} // closed when cmd has
}

// newPooler starts one before the database at url, for nodes.
func newPooler(t *testing.T, url string, settings ...string) *pooler {
	t.Helper()
	p := &pooler{t: t, address: testkit.FreeAddress(t), file: filepath.Join(testkit.Folder(t), "pgbouncer.ini")}
	host, port, _ := strings.Cut(hostOf(t, url), ":")
	_, listen, _ := strings.Cut(p.address, ":")
	must(t, os.WriteFile(p.file, fmt.Appendf(nil, `[databases]
postgres = host=%s port=%s dbname=postgres user=%s password=%[3]s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %[4]s
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 20
max_client_conn = 200
%[5]s
`, host, port, nodeRole, listen, strings.Join(settings, "\n")), 0o644))
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *pooler) start() {
	p.t.Helper()
	p.mu.Lock()
	must(p.t, p.launch())
	p.mu.Unlock()
	testkit.Eventually(p.t, "PgBouncer passes connections on", func() bool {
		return attempt(p.t.Context(), "postgres://x@"+p.address+"/postgres?sslmode=disable&default_query_exec_mode=simple_protocol", `SELECT`) == nil
	})
}

// launch starts the process, and again if it ends by itself, as whatever looks after
// it would.
func (p *pooler) launch() error {
	program := testkit.Program(p.t, "pgbouncer", "/usr/sbin/pgbouncer")
	args := []string{p.file}
	if os.Geteuid() == 0 { // which it refuses to run as
		args = append([]string{"-u", "nobody"}, args...)
	}
	cmd, ended, log := exec.Command(program, args...), make(chan struct{}), new(bytes.Buffer)
	cmd.SysProcAttr, cmd.Stderr = dieWithParent(), log
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.ended = cmd, ended
	go func() {
		defer close(ended)
		err := cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.cmd != cmd {
			return
		}
		text := log.Bytes()
		p.t.Logf("PgBouncer has ended by itself: %v\n%s", err, text[max(0, len(text)-2000):])
		if err := p.launch(); err != nil {
			p.t.Errorf("start PgBouncer again: %v", err)
		}
	}()
	return nil
}

func (p *pooler) kill() {
	p.mu.Lock()
	cmd, ended := p.cmd, p.ended
	p.cmd = nil
	p.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		<-ended
	}
}

// TestFault_PgBouncer: with a pooler in transaction mode in front of the database, a
// node with a direct URL works as without; one that has none reports it, and polls.
// Neither loses an event, not even when the pooler dies.
func TestFault_PgBouncer(t *testing.T) {
	t.Parallel()
	server := startPostgres(t)
	f := newField(t, server.URL(""), 0)
	f.prepare()
	pooler := newPooler(t, server.URL(""))
	pooled := at(t, asNode(t, f.url), pooler.address)
	direct := newProcessOf(t, racedAtLength(t), pooled, "--direct-url", asNode(t, f.url), "--replay-buffer", "64KiB")
	polling := newProcess(t, pooled, "--replay-buffer", "64KiB")
	for _, n := range []*process{direct, polling} {
		f.nodes = append(f.nodes, n)
		f.client = append(f.client, newNetwork(t, n.listen))
	}
	testkit.Eventually(t, "the node with a direct URL is ready", direct.ready)
	f.write(4)
	f.read(8)
	f.recover("the start", testkit.Deadline)
	testkit.Eventually(t, "the node whose tail is behind a pooler is ready and says that it needs a direct connection", func() bool {
		return polling.ready() && strings.Contains(readiness(t, polling), "direct connection")
	})
	f.suffer("behind PgBouncer", 10*time.Second, func() { f.pause(2*time.Second, 3*time.Second) })
	f.suffer("kill -9 of PgBouncer", 10*time.Second, func() {
		pooler.kill()
		f.pause(200*time.Millisecond, time.Second)
		pooler.start()
	})
	f.end()
}

// readiness is what a node says of its readiness, once its tail follows.
func readiness(t *testing.T, n *process) (why string) {
	t.Helper()
	testkit.Eventually(t, "the tail follows", func() bool {
		response, err := http.Get(n.url + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		why = string(body)
		return strings.Contains(why, "LISTEN") || response.StatusCode == http.StatusOK
	})
	return why
}
