package e2e

import (
	"bufio"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
)

// TestCurl_SeesInsertTypedInPsql pastes into two shells what the server prints.
func TestCurl_SeesInsertTypedInPsql(t *testing.T) {
	t.Parallel()
	s := start(t, "--data", testkit.Folder(t))

	blocks := make(chan string, 16)
	shown := curl(t, s.stream)
	go func() {
		defer close(blocks)
		var block strings.Builder
		for lines := bufio.NewScanner(shown); lines.Scan(); {
			if block.WriteString(lines.Text() + "\n"); lines.Text() == "" {
				blocks <- block.String()
				block.Reset()
			}
		}
	}()
	// next waits for what curl shows next with all of these lines.
	next := func(lines ...string) {
		t.Helper()
		giveUp := time.After(testkit.Deadline)
		for {
			select {
			case block, ok := <-blocks:
				if !ok {
					t.Fatal("curl has ended")
				}
				for _, line := range lines {
					if !strings.Contains(block, line) {
						block = ""
					}
				}
				if block != "" {
					return
				}
			case <-giveUp:
				t.Fatalf("curl does not show %q", lines)
			}
		}
	}
	next("event: outcrier.live\n")

	psql(t, s, `INSERT INTO outbox (topic, type, payload) VALUES ('user/42', 'audit.approved', '{"submission": 7}');`)
	next("event: audit.approved\n", `data: {"specversion":"1.0","id":"1","source":"/","type":"audit.approved","topic":"user/42"`, `,"data":{"submission": 7}}`+"\nid: 1.")
}

// curl runs the command and returns its output, or where there is no curl the body that
// net/http reads.
func curl(t *testing.T, command string) io.Reader {
	t.Helper()
	if !has(t, "curl") {
		response, err := http.Get(strings.Trim(strings.TrimPrefix(command, "curl -N "), "'"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return response.Body
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "exec "+command)
	cmd.WaitDelay = time.Second
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	return stdout
}

// psql types an INSERT, or has pgx do it where there is no psql.
func psql(t *testing.T, s *server, statement string) {
	t.Helper()
	if !has(t, "psql") {
		if _, err := connect(t, s.url()).Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", s.psql)
	cmd.Stdin = strings.NewReader(statement + "\n")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "INSERT 0 1\n" {
		t.Fatalf("psql says %q, %v", out, err)
	}
}
