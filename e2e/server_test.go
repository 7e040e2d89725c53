package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/testkit"
)

// server is a process that runs the demo, or outcrier serve.
type server struct {
	program string
	args    []string
	cmd     *exec.Cmd
	// base is the address, "http://127.0.0.1:" and a port that stays the same
	// when the server is killed and restarted.
	base string
	// stream and psql are the commands that the server offers to paste. psql is
	// empty for a server without a Postgres of its own.
	stream, psql string
}

// start starts the demo on a free port, and ends it with the test.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	return launch(t, demo(t), append([]string{"--traffic", "0", "--log-level", "info"}, args...)...)
}

// startAs does so with a command of outcrier.
func startAs(t *testing.T, command string, args ...string) *server {
	t.Helper()
	return launch(t, binary(t), append([]string{command}, args...)...)
}

func launch(t *testing.T, program string, args ...string) *server {
	t.Helper()
	s := &server{base: "http://" + testkit.FreeAddress(t), program: program, args: append(args, "--drain", "0s")}
	s.restart(t)
	t.Cleanup(func() { s.stop(t) })
	return s
}

// restart starts a server that was killed, on the same port, and waits until it
// has said where it is.
func (s *server) restart(t *testing.T) {
	t.Helper()
	listen := strings.TrimPrefix(s.base, "http://")
	s.cmd = exec.Command(s.program, append(s.args, "--listen", listen)...)
	s.cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == "DATABASE_URL" || strings.HasPrefix(name, "OUTCRIER_") && name != "OUTCRIER_PG_BIN"
	})
	s.cmd.Stderr = serverLog{t}
	s.cmd.WaitDelay = 5 * time.Second
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	giveUp := time.AfterFunc(2*testkit.Deadline, func() { s.cmd.Process.Kill() })
	defer giveUp.Stop()
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		switch key, value, _ := strings.Cut(lines.Text(), " "); key {
		case "stream":
			s.stream = value
			_, url, _ := strings.Cut(value, "'")
			s.base, _, _ = strings.Cut(url, "/events")
		case "psql":
			s.psql = lines.Text()
		case "dev": // the last line
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return
		}
	}
	err = s.cmd.Wait()
	s.cmd = nil
	t.Fatalf("the server ended before it said where it is: %v", err)
}

// url is the address of the server's Postgres.
func (s *server) url() string { return strings.TrimPrefix(s.psql, "psql ") }

// kill is kill -9.
func (s *server) kill() {
	s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

func (s *server) stop(t *testing.T) {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(os.Interrupt)
	giveUp := time.AfterFunc(testkit.Deadline, func() { s.cmd.Process.Kill() })
	defer giveUp.Stop()
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the server ended badly: %v", err)
	}
}

// serverLog passes a server's log on to the test's, and fails the test by what
// should never stand there.
type serverLog struct{ t *testing.T }

func (l serverLog) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("level=ERROR")) || bytes.Contains(p, []byte("DATA RACE")) {
		l.t.Error("the server's log has an error")
	}
	return l.t.Output().Write(p)
}

// row is a row of the outbox.
type row struct {
	ID                           int64
	Topic, Type, Payload, Source string
	CreatedAt                    time.Time
}

// rows are those of the outbox at url with a topic like pattern, by id.
func rows(t *testing.T, url, pattern string) []row {
	t.Helper()
	const rowsSQL = `SELECT id, topic, type, payload::text, source, created_at FROM outcrier.event WHERE topic LIKE $1 AND topic <> '' ORDER BY id`
	found, err := connect(t, url).Query(t.Context(), rowsSQL, pattern)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(found, pgx.RowToStructByPos[row])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// insert appends an event by SQL, in a transaction of its own.
func insert(t *testing.T, db *pgx.Conn, topic, kind, payload string) {
	t.Helper()
	const insertSQL = `INSERT INTO outbox (topic, type, payload) VALUES ($1, $2, $3::text::json)`
	if _, err := db.Exec(t.Context(), insertSQL, topic, kind, payload); err != nil {
		t.Fatalf("append %.100q of type %q on %q: %v", payload, kind, topic, err)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close(t.Context()) })
	return db
}

// event is an event as a client received it.
type event struct{ ID, Type, Data string }

func (e event) String() string { return fmt.Sprintf("%s of type %q: %.300q", e.ID, e.Type, e.Data) }

// has reports whether the event is of the type marker, or has it in its data.
func (e event) has(marker string) bool {
	return e.Type == marker || len(e.Data) < 1000 && strings.Contains(e.Data, marker)
}
