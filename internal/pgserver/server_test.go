//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// asParent makes the test binary start a server and wait to be killed.
const asParent = "PGSERVER_TEST_AS_PARENT"

func TestMain(m *testing.M) {
	if data, ok := os.LookupEnv(asParent); ok {
		beParent(data)
	}
	os.Exit(m.Run())
}

func TestStart_AnswersQuery(t *testing.T) {
	s := start(t, Config{Settings: map[string]string{"fsync": "off", "max_prepared_transactions": "64"}})
	for query, want := range map[string]string{
		"SHOW listen_addresses":          "127.0.0.1",
		"SHOW server_encoding":           "UTF8",
		"SHOW timezone":                  "UTC",
		"SHOW fsync":                     "off",
		"SHOW max_prepared_transactions": "64",
		"SELECT DISTINCT datcollate::text FROM pg_database": "C",
	} {
		if got := ask(t, s, query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}

	out, err := exec.Command(filepath.Join(s.Bin(), "psql"), s.URL("template1"), "-Atc", "SELECT current_database()").CombinedOutput()
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("no psql among the binaries")
	}
	if got := strings.TrimSpace(string(out)); got != "template1" {
		t.Errorf("psql with the URL says %q, %v; want template1", got, err)
	}
}

func TestStart_KeepsDataBetweenRuns(t *testing.T) {
	config := Config{Data: filepath.Join(folder(t), "with space", "kept")}
	s := start(t, config)
	do(t, s, "CREATE TABLE note (text text)", "INSERT INTO note VALUES ('kept')")
	stop(t, s)

	s = start(t, config)
	if got := ask(t, s, "SELECT text FROM note"); got != "kept" {
		t.Errorf("note is %q, want kept", got)
	}
	stop(t, s)
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s, "SELECT text FROM note"); got != "kept" {
		t.Errorf("after Restart the note is %q, want kept", got)
	}
	if _, err := os.Stat(s.LogFile()); err != nil {
		t.Error(err)
	}
}

func TestStart_KeepsThePortBetweenRunsUnlessItIsTaken(t *testing.T) {
	config := Config{Data: folder(t)}
	s := start(t, config)
	first := s.URL("")
	stop(t, s)
	s = start(t, config)
	if got := s.URL(""); got != first {
		t.Errorf("the second run is at %s, the first was at %s", got, first)
	}
	address := net.JoinHostPort(loopback, strconv.Itoa(s.port))
	stop(t, s)

	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s = start(t, config)
	if s.URL("") == first || ask(t, s, "SELECT 1::text") != "1" {
		t.Errorf("with the port taken it is at %s", s.URL(""))
	}
	second := s.URL("")
	stop(t, s)
	if err := os.WriteFile(filepath.Join(config.Data, portFile), []byte("no port"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s = start(t, config); ask(t, s, "SELECT 1::text") != "1" {
		t.Errorf("with a note that is no port it is at %s, before at %s", s.URL(""), second)
	}
}

func TestStop_ThrowsTemporaryDataAway(t *testing.T) {
	s := start(t, Config{})
	stop(t, s)
	if _, err := os.Stat(s.folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", s.folder, err)
	}
	if err := s.Restart(t.Context()); err == nil {
		t.Error("Restart without data succeeded")
	}
	stop(t, s)
}

func TestStore_IsWhatOthersBeginWith(t *testing.T) {
	saved := t.TempDir()
	first := start(t, Config{})
	do(t, first, "CREATE TABLE note AS SELECT 'saved' AS text")
	if err := first.Store(t.Context(), saved); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"", folder(t)} {
		s := start(t, Config{From: saved, Data: data})
		if got := ask(t, s, "SELECT text FROM note"); got != "saved" {
			t.Errorf("with data in %q there is %q, want what was saved", data, got)
		}
		if log, err := os.ReadFile(s.LogFile()); err != nil || strings.Contains(string(log), "recovery") {
			t.Errorf("the saved databases had to be recovered: %v %s", err, log)
		}
	}
}

func TestStart_RefusesFolderInUse(t *testing.T) {
	config := Config{Data: folder(t)}
	start(t, config)
	_, err := Start(t.Context(), config)
	if want := fmt.Sprintf("in use by process %d: end it, or choose another folder by --data", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("second Start says %q, want it to name the holder and what to do: %q", err, want)
	}
}

func TestStart_EndsWithContext(t *testing.T) {
	t.Setenv("TMPDIR", folder(t))
	for _, data := range []string{"", filepath.Join(folder(t), "kept")} {
		for _, after := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			s, err := Start(ctx, Config{Data: data})
			cancel()
			if err == nil {
				stop(t, s)
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Start that was cancelled after %v says %q", after, err)
			}
		}
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "outcrier-pg-*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestStart_FailureShowsLog(t *testing.T) {
	_, err := Start(t.Context(), Config{Settings: map[string]string{"shared_buffers": "lots"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers"`) {
		t.Errorf("Start says %q, want Postgres' own reason", err)
	}
}

// start starts a server that ends with the test.
func start(t *testing.T, config Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

// folder is a temporary folder that the account of Postgres can reach, which root's t.TempDir is not.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pgserver-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir) // macOS
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func do(t *testing.T, s *Server, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func ask(t *testing.T, s *Server, query string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var answer string
	if err := conn.QueryRow(t.Context(), query).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

// eventually waits until the condition that what describes is true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}
