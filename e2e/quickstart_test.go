package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/outcrier/outcrier/internal/testkit"
)

// TestQuickStart_IsTrueWordForWord follows the README on a fresh clone: its shell blocks in
// their order, the INSERT, and the tests. It replaces only the repository's address, the
// port, and the folder of the data.
func TestQuickStart_IsTrueWordForWord(t *testing.T) {
	t.Parallel()
	git := testkit.Program(t, "git")
	testkit.Program(t, "make")
	root := testkit.Source(t)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, start, _ := strings.Cut(string(readme), "\n## Quick start\n")
	start, _, _ = strings.Cut(start, "\n## ")
	blocks := func(language string) (found []string) {
		for _, block := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(start, -1) {
			found = append(found, block[1])
		}
		return found
	}
	shell, sql, console := blocks("sh"), blocks("sql"), blocks("js")
	if len(shell) != 3 || len(sql) != 1 || len(console) != 1 || !strings.Contains(start, "`make test`") {
		t.Fatalf("the quick start has %d shell blocks, %d of SQL, %d for the console, or does not name make test", len(shell), len(sql), len(console))
	}
	demo, follow, publish := shell[0], shell[1], shell[2]

	const public = "https://github.com/outcrier/outcrier"
	if !strings.Contains(demo, "git clone "+public+"\n") {
		t.Fatalf("it clones otherwise: %s", demo)
	}
	dir := t.TempDir()
	mine := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == "DATABASE_URL" || strings.HasPrefix(name, "OUTCRIER_") && name != "OUTCRIER_PG_BIN"
	})
	environ := append(mine, "OUTCRIER_LISTEN=127.0.0.1:0", "OUTCRIER_DATA="+testkit.Folder(t), "OUTCRIER_DRAIN=0s",
		"GOFLAGS="+os.Getenv("GOFLAGS")+" -ldflags=-w", // quicker to link, without data for a debugger
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=url."+root+".insteadOf", "GIT_CONFIG_VALUE_0="+public,
		// A checkout that belongs to another user makes git refuse.
		"GIT_CONFIG_KEY_1=safe.directory", "GIT_CONFIG_VALUE_1=*")
	if out, err := exec.Command(git, "-c", "safe.directory=*", "-C", root, "rev-parse", "HEAD").CombinedOutput(); err != nil {
		testkit.Missing(t, "this is no checkout of git: %s", out)
	}
	// A block as someone pastes it, in a group of processes that ends with the test.
	paste := func(block, in string) *exec.Cmd {
		cmd := exec.Command("sh", "-e", "-c", block)
		cmd.Dir, cmd.Env, cmd.Stderr = in, environ, serverLog{t}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.WaitDelay = 5 * time.Second
		return cmd
	}
	run := func(cmd *exec.Cmd) *bufio.Scanner {
		t.Helper()
		stdout, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			// As Ctrl-C does: all of the group.
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
			giveUp := time.AfterFunc(testkit.Deadline, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
			defer giveUp.Stop()
			_ = cmd.Wait()
		})
		giveUp := time.AfterFunc(10*testkit.Deadline, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		t.Cleanup(func() { giveUp.Stop() })
		return bufio.NewScanner(stdout)
	}

	began := time.Now()
	took := func(step string) { t.Logf("%v: %s", time.Since(began).Round(100*time.Millisecond), step) }
	lines := run(paste(demo, dir))
	printed := map[string]string{}
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if printed[key] = value; key == "dev" {
			break
		}
	}
	base := strings.TrimSuffix(printed["page"], "/")
	if base == "" || printed["stream"] == "" || printed["psql"] == "" {
		t.Fatalf("make demo prints %q", printed)
	}
	took("make demo has printed where it is")

	tab := newTab(t)
	do(t, tab, chromedp.Navigate(base+"/"))
	see(t, tab, "a")
	took("the page is shown")

	const documented = "http://127.0.0.1:8080"
	if want := strings.ReplaceAll(strings.TrimSpace(follow), documented, base); want != printed["stream"] {
		t.Errorf("the README says %s, the demo %s", want, printed["stream"])
	}
	clone := filepath.Join(dir, "outcrier")
	var events *bufio.Scanner
	if has(t, "curl") {
		events = run(paste("exec "+strings.ReplaceAll(follow, documented, base), clone))
	} else {
		events = bufio.NewScanner(curl(t, printed["stream"]))
	}
	// seen waits for a line of the stream.
	seen := func(line string) {
		t.Helper()
		for events.Scan() {
			if strings.Contains(events.Text(), line) {
				return
			}
		}
		t.Fatalf("the stream ends before %q", line)
	}
	seen("event: outcrier.live")
	took("curl follows")
	insert := func() { psql(t, &server{psql: "psql " + printed["psql"]}, sql[0]) }
	insert()
	seen(`"type":"audit.approved","topic":"user/42"`)
	took("the first event of one's own is in the terminal")
	if has(t, "curl") {
		cmd := paste(strings.ReplaceAll(publish, documented, base), clone)
		if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), `"ids"`) {
			t.Errorf("publishing by HTTP: %v: %s", err, out)
		}
		seen(`"type":"audit.approved","topic":"user/42"`)
		took("and one that was published by HTTP")
	}

	eval[chromedp.Void](t, tab, `globalThis.logged = []; console.log = (text) => logged.push(text);`)
	eval[bool](t, tab, console[0]+"; true")
	testkit.Eventually(t, "an event of one's own is in the browser", func() bool {
		insert() // an event from before the page's stream is open does not reach it
		return strings.Contains(eval[string](t, tab, "logged.join()"), `"data":{"submission": 7}`)
	})
	took("and one is in the browser")
	do(t, tab, chromedp.Navigate("about:blank")) // the page has enough to do with the demo's traffic

	// Of all tests, those of one package: this is one of them.
	environ = append(environ, "PKG=./sse/ssetest")
	tests := paste("make test", clone)
	tests.Stderr = nil
	if out, err := tests.CombinedOutput(); err != nil || !strings.Contains(string(out), "ok ") {
		t.Errorf("make test: %v: %s", err, out)
	}
}
