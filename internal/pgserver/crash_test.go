//go:build unix

package pgserver

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestKill_RestartRecoversCommittedRows(t *testing.T) {
	s := start(t, Config{})
	do(t, s, "CREATE TABLE note (text text)", "INSERT INTO note VALUES ('committed')")
	url := s.URL("")
	open, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close(t.Context())
	if _, err := open.Exec(t.Context(), "BEGIN; INSERT INTO note VALUES ('not committed')"); err != nil {
		t.Fatal(err)
	}

	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Exec(t.Context(), "COMMIT"); err == nil {
		t.Error("a session outlived Kill")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.URL("") != url {
		t.Errorf("the URL is %s after Restart, was %s", s.URL(""), url)
	}
	if got := ask(t, s, "SELECT string_agg(text, ', ') FROM note"); got != "committed" {
		t.Errorf("after the crash there is %q, want what was committed", got)
	}
	// A killed temporary server can be stopped without Restart.
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
}

func TestRestart_AwaitsBackendsOfKilledPostmaster(t *testing.T) {
	s := start(t, Config{Data: folder(t)})
	busy, err := pgx.Connect(t.Context(), s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close(t.Context())
	backend := int(busy.PgConn().PID())
	const compute = "DO $$ DECLARE e timestamptz = clock_timestamp() + '1s'; BEGIN WHILE clock_timestamp() < e LOOP END LOOP; END $$"
	if _, err := busy.PgConn().Conn().Write(query(compute)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the backend computes", func() bool { return strings.Contains(commandOf(t.Context(), backend), " DO") })

	// By another hand, and to another process: nothing of this Server tells the new one of the backend.
	if err := syscall.Kill(s.process.pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = s.process.cmd.Wait()
	if _, err := s.process.leash.WriteString("dismissed\n"); err != nil {
		t.Fatal(err)
	}
	s.process = nil
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if commandOf(t.Context(), backend) != "" {
		t.Error("the old backend still runs beside the new server")
	}

	// The same again, and Restart finds out by itself.
	if err := syscall.Kill(s.process.pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// query is a simple query in wire form, whose answer is not awaited.
func query(sql string) []byte {
	n := len(sql) + 5
	return append([]byte{'Q', 0, 0, byte(n >> 8), byte(n)}, sql+"\x00"...)
}

func TestRestart_IgnoresPidOfAnotherProgram(t *testing.T) {
	s := start(t, Config{})
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	other := s.account.command(ctx, "/bin/sleep", "300")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Wait() }()
	defer cancel()
	file := filepath.Join(s.data(), "postmaster.pid")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	if err := os.WriteFile(file, fmt.Appendf(nil, "%d\n%s", other.Process.Pid, rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestServer_DiesWithParent(t *testing.T) {
	for name, data := range map[string]string{"kept": folder(t), "temporary": ""} {
		t.Run(name, func(t *testing.T) {
			parent := exec.Command(os.Args[0])
			parent.Env = append(os.Environ(), asParent+"="+data)
			out, err := parent.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			var pid, sibling int
			var used string
			if _, err := fmt.Fscan(bufio.NewReader(out), &pid, &sibling, &used); err != nil {
				t.Fatal(err)
			}
			defer syscall.Kill(sibling, syscall.SIGKILL)

			if err := parent.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = parent.Wait()
			if data != "" { // a new run need not wait for the end of the old one
				stop(t, start(t, Config{Data: data}))
			}
			eventually(t, "the postmaster is gone", func() bool { return !strings.Contains(commandOf(t.Context(), pid), "postgres") })
			if commandOf(t.Context(), sibling) == "" {
				t.Error("the parent's other child ended too: the test says nothing about leaks")
			}
			if data == "" {
				eventually(t, "the temporary folder is gone", func() bool { _, err := os.Stat(used); return os.IsNotExist(err) })
			}
		})
	}
}

// beParent prints its postmaster, another child that outlives it, and the folder, and waits for its end.
func beParent(data string) {
	s, err := Start(context.Background(), Config{Data: data})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	sibling := exec.Command("/bin/sleep", "300")
	if err := sibling.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.process.pid(), sibling.Process.Pid, s.folder)
	_ = sibling.Wait()
}

func TestServer_LivesWhileNobodyHoldsIt(t *testing.T) {
	server, err := Start(t.Context(), Config{Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	url, pid := server.URL(""), server.process.pid()
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGINT) })
	server = nil
	for range 5 {
		runtime.GC() // and the finalizers' time to run: a connection made
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
