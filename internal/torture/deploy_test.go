package torture

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// startBalancer starts an HAProxy before nodes, which goes by their readiness, and
// returns its address.
func startBalancer(t *testing.T, nodes []*process) (address string) {
	t.Helper()
	program := testkit.Program(t, "haproxy", "/usr/sbin/haproxy")
	address = testkit.FreeAddress(t)
	var config strings.Builder
	fmt.Fprintf(&config, `global
	maxconn 2000
defaults
	mode http
	timeout connect 2s
	timeout check 5s
	timeout client 1m
	timeout server 1m
	retries 3
	option redispatch
	retry-on conn-failure empty-response
frontend clients
	bind %s
	default_backend nodes
backend nodes
	balance leastconn
	option httpchk
	http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
	default-server check inter 150ms fall 1 rise 1
`, address)
	for i, n := range nodes {
		fmt.Fprintf(&config, "\tserver node%d %s\n", i, n.listen)
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	must(t, os.WriteFile(file, []byte(config.String()), 0o600))
	var output bytes.Buffer
	balancer := exec.Command(program, "-db", "-f", file)
	balancer.Stdout, balancer.Stderr, balancer.SysProcAttr = &output, &output, dieWithParent()
	must(t, balancer.Start())
	t.Cleanup(func() {
		balancer.Process.Kill()
		_ = balancer.Wait()
		if t.Failed() {
			t.Logf("HAProxy: %s", output.String())
		}
	})
	testkit.Eventually(t, "HAProxy passes requests on", func() bool {
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return address
}

// TestDeploy_LosesNothingBehindHAProxy rolls two nodes behind a real load balancer,
// under load. The clients know its address alone. None may be refused, miss an event,
// or get a gap.
func TestDeploy_LosesNothingBehindHAProxy(t *testing.T) {
	t.Parallel()
	server := startPostgres(t)
	f := newField(t, server.URL(""), 2, "--drain-delay", "1s", "--drain", "600ms")
	f.prepare()
	balancer := startBalancer(t, f.nodes)
	f.client = nil
	f.front = "http://" + balancer
	f.write(4)
	f.read(20)
	f.recover("the start", testkit.Deadline)
	// POSTs go on too, and all are taken.
	posting, stopPosting := context.WithCancel(context.Background())
	posted := make(chan error, 1)
	go func() { posted <- post(posting, f.front) }()
	rounds := 1
	if testkit.Long() {
		rounds = 2
	}
	for range rounds {
		f.suffer("rolling deploy behind HAProxy", 10*time.Second, func() {
			for _, n := range f.nodes {
				n.drain()
				n.start()
				testkit.Eventually(t, "a node is ready again", n.ready)
				pause(t.Context(), time.Second) // the balancer takes note
			}
		})
	}
	stopPosting()
	if err := <-posted; err != nil {
		t.Errorf("a POST during the deploy: %v", err)
	}
	f.end()
	for _, r := range f.readers {
		for _, end := range r.ends() {
			t.Errorf("%s: %s", r.name, end)
		}
	}
}

// post appends until ctx ends or a request fails.
func post(ctx context.Context, base string) error {
	for n := 1; ctx.Err() == nil; n++ {
		event := fmt.Sprintf(`{"topic":"torture/posted","type":"torture.happened","payload":%s}`, payload{Chain: "posted", N: n})
		response, err := http.Post(base+"/events", "application/json", strings.NewReader(event))
		if err != nil {
			return err
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusCreated {
			return fmt.Errorf("%s: %s, %w", response.Status, body, err)
		}
		pause(ctx, 20*time.Millisecond)
	}
	return nil
}

// openStream opens a stream of a node, and returns a channel with its lines.
func openStream(t *testing.T, n *process) <-chan string {
	t.Helper()
	response, err := http.Get(n.url + "/events?" + url.Values{"topic": {"**"}, "format": {"payload"}}.Encode())
	must(t, err)
	t.Cleanup(func() { response.Body.Close() })
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		var rest string
		for buf := make([]byte, 4096); ; {
			k, err := response.Body.Read(buf)
			for rest += string(buf[:k]); strings.Contains(rest, "\n"); {
				var line string
				line, rest, _ = strings.Cut(rest, "\n")
				lines <- line
			}
			if err != nil {
				return
			}
		}
	}()
	return lines
}

// until reads lines until one holds text, or the stream ends.
func until(t *testing.T, lines <-chan string, text string) {
	t.Helper()
	for limit := time.After(testkit.Deadline); ; {
		select {
		case line, open := <-lines:
			if !open {
				t.Fatalf("the stream ended before %q", text)
			}
			if strings.Contains(line, text) {
				return
			}
		case <-limit:
			t.Fatalf("not within %v: %q", testkit.Deadline, text)
		}
	}
}

// TestDrain_ReadinessTurnsFirst: a load balancer has time to notice while requests are
// served as before; then every stream gets a goodbye.
func TestDrain_ReadinessTurnsFirst(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	n := newProcess(t, database, "--drain-delay", "1m", "--drain", "1s")
	testkit.Eventually(t, "the node is ready", n.ready)
	before := openStream(t, n)
	until(t, before, "outcrier.live")
	n.cmd.Process.Signal(syscall.SIGTERM)
	testkit.Eventually(t, "the node is not ready any more", func() bool { return !n.ready() })
	meanwhile := openStream(t, n)
	until(t, meanwhile, "outcrier.live")
	execute(t, database, `INSERT INTO outbox (topic, type, payload) VALUES ('a', 'b', '"still served"')`)
	until(t, before, "still served")
	until(t, meanwhile, "still served")
	// A second signal is for those who can't wait.
	n.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-n.ended:
		if err == nil {
			t.Error("after the second signal it ends as after one")
		}
		n.cmd = nil
	case <-time.After(testkit.Deadline):
		t.Error("the second signal does not end it")
	}
}

func TestDrain_SaysGoodbyeAndEndsWell(t *testing.T) {
	t.Parallel()
	n := newProcess(t, outboxtest.URL(t), "--drain", "500ms")
	testkit.Eventually(t, "the node is ready", n.ready)
	var streams []<-chan string
	for range 10 {
		streams = append(streams, openStream(t, n))
		until(t, streams[len(streams)-1], "outcrier.live")
	}
	done := make(chan struct{})
	go func() { defer close(done); n.drain() }()
	for _, lines := range streams {
		until(t, lines, `{"reason":"drain"}`)
	}
	<-done
}

// TestDrain_WaitsForNoSlowReader: not even for the stall time, which a reader who
// takes a little now and then could make very long.
func TestDrain_WaitsForNoSlowReader(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	n := newProcess(t, database, "--drain", "300ms", "--stall", "5m")
	testkit.Eventually(t, "the node is ready", n.ready)
	conn, err := net.Dial("tcp", n.listen)
	must(t, err)
	defer conn.Close()
	must(t, conn.(*net.TCPConn).SetReadBuffer(4<<10))
	_, err = io.WriteString(conn, "GET /events?topic=** HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
	must(t, err)
	lines := bufio.NewReader(conn)
	for line := ""; !strings.Contains(line, "outcrier.live"); {
		line, err = lines.ReadString('\n')
		must(t, err)
	}
	// More than all buffers between hold.
	execute(t, database, `INSERT INTO outbox (topic, type, payload) SELECT 'a', 'b', to_json(repeat('x', 100000)) FROM generate_series(1, 100)`)
	other := openStream(t, n)
	until(t, other, "outcrier.live")
	execute(t, database, `INSERT INTO outbox (topic, type) VALUES ('a', 'the.last')`)
	until(t, other, "the.last")
	n.drain()
}
