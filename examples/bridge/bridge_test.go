package bridge

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// sink is what a bridge leads to: it counts how often each event has come, by the number in
// its payload.
type sink struct {
	mu    sync.Mutex
	times map[string]int
	order []string // of first times
}

var number = regexp.MustCompile(`"n" : (\d+)`)

func (s *sink) got(text string) {
	found := number.FindStringSubmatch(text)
	if found == nil {
		return
	}
	id := found[1]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times == nil {
		s.times = map[string]int{}
	}
	if s.times[id]++; s.times[id] == 1 {
		s.order = append(s.order, id)
	}
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.order)
}

const kills = 5

// cross runs a recipe, kills it with kill -9 in the middle of work again and again, and
// expects each event at the sink, in order, at most once more for each kill.
func cross(t *testing.T, recipe string, s *sink, environ ...string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the recipes are for a shell of Unix")
	}
	database := outboxtest.URL(t)
	pool := outboxtest.Pool(t, database)
	state := t.TempDir()
	environ = append(append(os.Environ(), "PATH="+filepath.Dir(testkit.PlainCommand(t, "cmd/outcrier"))+":"+os.Getenv("PATH"), "DATABASE_URL="+database, "STATE="+state), environ...)
	start := func() *exec.Cmd {
		cmd := exec.Command("./" + recipe)
		cmd.Env, cmd.Stderr = environ, t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	cmd := start()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	// From its first answer on nothing is missed: it begins with the events that come
	// then.
	at := filepath.Join(state, strings.TrimSuffix(recipe, ".sh")+".at")
	testkit.Eventually(t, "the bridge has begun", func() bool { _, err := os.Stat(at); return err == nil })

	var ids []string
	for n := 1; n <= kills+1; n++ {
		ids = append(ids, write(t, pool, len(ids), 12)...)
		before := s.count()
		testkit.Eventually(t, "events come through", func() bool { return s.count() > before+3 })
		if n <= kills {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			ids = append(ids, write(t, pool, len(ids), 3)...) // while no reader is connected
			cmd = start()
		}
	}
	testkit.Eventually(t, "all have come through", func() bool { return s.count() >= len(ids) })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	again := 0
	for i, id := range ids {
		again += s.times[id] - 1
		if s.order[i] != id {
			t.Fatalf("event %d of %d is %s, want %s", i+1, len(ids), s.order[i], id)
		}
	}
	if len(s.order) != len(ids) || again > kills {
		t.Errorf("of %d events %d came, and %d times one came again, after %d kills", len(ids), len(s.order), again, kills)
	}
	t.Logf("%d events, %d kills: 0 lost, %d came twice", len(ids), kills, again)
}

// write appends events with the numbers that come next, in one transaction, and as many
// that are not asked for. It returns the numbers.
func write(t *testing.T, pool *pgxpool.Pool, before, n int) (numbers []string) {
	t.Helper()
	const writeSQL = `
		INSERT INTO outbox (topic, type, payload)
		SELECT topic, 'account.locked', json_build_object('n', i) FROM generate_series($1::int, $2::int) AS i, unnest(ARRAY['other/1', 'user/' || i]) AS topic`
	if _, err := pool.Exec(t.Context(), writeSQL, before+1, before+n); err != nil {
		t.Fatal(err)
	}
	for i := before + 1; i <= before+n; i++ {
		numbers = append(numbers, strconv.Itoa(i))
	}
	return numbers
}

// TestExec_ReadsTheWholeEventWhenTheTailIsKilled has a command that reads its input after
// the tail was killed, and an event that is longer than a pipe holds.
func TestExec_ReadsTheWholeEventWhenTheTailIsKilled(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the command is for a shell of Unix")
	}
	database := outboxtest.URL(t)
	const writeSQL = `INSERT INTO outbox (topic, type, payload) VALUES ('user/1', 'account.locked', json_build_object('n', 1, 'text', repeat('a', 200000)))`
	if _, err := outboxtest.Pool(t, database).Exec(t.Context(), writeSQL); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	exists := func(name string) func() bool {
		return func() bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	}
	cmd := exec.Command(testkit.PlainCommand(t, "cmd/outcrier"), "tail", "--database-url", database, "--topic", "**", "--from", "earliest", "--format", "payload", "--exec",
		`touch begun; until [ -e killed ]; do sleep 0.02; done; cat >part; mv part whole`)
	cmd.Dir, cmd.Stderr = dir, t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	testkit.Eventually(t, "the command runs", exists("begun"))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = cmd.Process.Wait() // not cmd.Wait, which waits for who reads standard error too
	if err := os.WriteFile(filepath.Join(dir, "killed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the command has read its input", exists("whole"))
	payload, err := os.ReadFile(filepath.Join(dir, "whole"))
	if err != nil {
		t.Fatal(err)
	}
	var event struct{ Text string }
	if err := json.Unmarshal(payload, &event); err != nil || len(event.Text) != 200000 {
		t.Errorf("the command has read %d bytes of the event: %v", len(payload), err)
	}
}

// TestWebhook_LosesNothing has a webhook that fails now and then, too.
func TestWebhook_LosesNothing(t *testing.T) {
	testkit.Program(t, "curl")
	var s sink
	var requests atomic.Int32 // two at once, when a command outlives its tail
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1)%7 == 0 {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.Contains(string(body), `"specversion":"1.0"`) {
			t.Errorf("%v: %s", err, body)
		}
		if r.Header.Get("Idempotency-Key") == "" {
			t.Error("the event's id is not in the header")
		}
		s.got(string(body))
	}))
	defer hook.Close()
	cross(t, "webhook.sh", &s, "HOOK="+hook.URL)
}

// TestMQTT_LosesNothing has mosquitto's broker, and a subscriber that was there before.
func TestMQTT_LosesNothing(t *testing.T) {
	broker, subscribe := testkit.Program(t, "mosquitto"), testkit.Program(t, "mosquitto_sub")
	publish := testkit.Program(t, "mosquitto_pub")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	listener.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	daemon := exec.CommandContext(ctx, broker, "-p", port)
	daemon.Stderr, daemon.Stdout = t.Output(), t.Output()
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = daemon.Wait() }()
	defer stop()
	testkit.Eventually(t, "the broker listens", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	var s sink
	reader := exec.CommandContext(ctx, subscribe, "-h", "127.0.0.1", "-p", port, "-q", "1", "-t", "outcrier/#", "-F", "%t %p")
	out, err := reader.StdoutPipe()
	if err == nil {
		err = reader.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var subscribed atomic.Bool
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "outcrier/probe ") {
				subscribed.Store(true)
			}
			if strings.HasPrefix(lines.Text(), "outcrier/user/") {
				s.got(lines.Text())
			}
		}
	}()
	defer func() { _ = reader.Wait() }()
	defer stop()
	testkit.Eventually(t, "somebody subscribes", func() bool {
		_ = exec.CommandContext(ctx, publish, "-h", "127.0.0.1", "-p", port, "-q", "1", "-t", "outcrier/probe", "-m", "-").Run()
		return subscribed.Load()
	})
	cross(t, "mqtt.sh", &s, "BROKER=127.0.0.1", "BROKER_PORT="+port)
}

// TestMail_LosesNothing has a program in sendmail's place, which takes a mail from standard
// input as that does.
func TestMail_LosesNothing(t *testing.T) {
	var s sink
	spool := t.TempDir()
	sendmail := filepath.Join(spool, "sendmail")
	// A mail is there as a whole or not at all, as in a queue.
	script := `#!/bin/sh
[ "$1" = -t ] || exit 64
cat >"$0.$$" && mv "$0.$$" "` + spool + `/mail.$(date +%s%N).$$"
`
	if err := os.WriteFile(sendmail, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			mails, _ := filepath.Glob(spool + "/mail.*")
			for _, mail := range mails { // by name, which is the time
				text, err := os.ReadFile(mail)
				if err == nil && strings.HasPrefix(string(text), "To: ops@example.com\nMessage-ID: <outcrier-") && strings.Contains(string(text), "\nSubject: account.locked on user/") {
					s.got(string(text))
				}
				_ = os.Remove(mail)
			}
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	defer func() { close(stop); <-done }()
	cross(t, "mail.sh", &s, "SENDMAIL="+sendmail)
}
