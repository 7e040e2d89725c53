package doctor

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// program is the path of a program that the test needs. It skips the test where the
// program is missing, but not in CI.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// start runs a program until the test ends, as an ordinary user: both refuse, or
// should not have, root. dir becomes that user's.
func start(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if os.Geteuid() == 0 {
		who, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, gid := number(t, who.Uid), number(t, who.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
		if err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			return os.Chown(path, int(uid), int(gid))
		}); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("%s says:\n%s", name, text)
		}
	})
}

func number(t *testing.T, text string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// folder is one that other users can enter.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "doctor")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // it is to be entered
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// listening waits until somebody listens on a port of loopback.
func listening(t *testing.T, port int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// pgbouncer pools a database, and returns its URL through the pool.
func pgbouncer(t *testing.T, database, mode, more string) string {
	t.Helper()
	bin, dir, port := program(t, "pgbouncer"), folder(t), freePort(t)
	config, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "pgbouncer.ini"), fmt.Sprintf(`[databases]
pooled = host=%s port=%d dbname=%s user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = %s
logfile =
%s
`, config.Host, config.Port, config.Database, config.User, config.Password, port, mode, more))
	start(t, dir, bin, filepath.Join(dir, "pgbouncer.ini"))
	listening(t, port)
	return (&url.URL{Scheme: "postgres", User: url.User("x"), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/pooled", RawQuery: "sslmode=disable"}).String()
}

// ignored has a pooler take a node's settings, and say nothing of keeping none of them.
const ignored = "ignore_startup_parameters = extra_float_digits, IntervalStyle, bytea_output, array_nulls, search_path, row_security, " +
	"default_transaction_isolation, default_transaction_read_only, default_transaction_deferrable, statement_timeout, lock_timeout, " +
	"idle_in_transaction_session_timeout, idle_session_timeout, plan_cache_mode, enable_seqscan, enable_bitmapscan, enable_indexscan, " +
	"enable_indexonlyscan, enable_nestloop, enable_partition_pruning, jit, max_parallel_workers_per_gather"

func TestListen_NamesThePooler(t *testing.T) {
	direct := outboxtest.URL(t)
	pooled := pgbouncer(t, direct, "transaction", "")
	found := examine(t, Config{DatabaseURL: pooled})
	found.want(t, Error, "listen", "LISTEN is not heard by --database-url: a pooler is in between", "--direct-url")
	found.want(t, OK, "sessions")
	found.want(t, OK, "schema")
	found.want(t, OK, "migrations")

	pooled = pgbouncer(t, direct, "transaction", ignored)
	found = examine(t, Config{DatabaseURL: pooled, DirectURL: direct})
	found.want(t, OK, "listen", "--direct-url")

	found = examine(t, Config{DatabaseURL: pgbouncer(t, direct, "session", ignored)})
	found.want(t, Warning, "listen", "through a pooler that keeps the session")
}

// A node sets what a pooler refuses, or takes and forgets: whatever the role has.
func TestSessions_HoldBehindAnyPooler(t *testing.T) {
	direct, conn := migrated(t)
	run(t, conn, `ALTER DATABASE `+pgx.Identifier{conn.Config().Database}.Sanitize()+` SET statement_timeout = '1s'`)
	for _, more := range []string{"", ignored} {
		found := examine(t, Config{DatabaseURL: pgbouncer(t, direct, "transaction", more), DirectURL: direct})
		found.want(t, OK, "sessions")
		found.want(t, OK, "settings", "statement_timeout = 1s")
	}
}
