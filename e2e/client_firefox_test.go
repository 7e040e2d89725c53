package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/outcrier/outcrier/internal/testkit"
)

// firefox is a Firefox without a window, driven by WebDriver BiDi
// (https://www.w3.org/TR/webdriver-bidi/).
type firefox struct {
	mu   sync.Mutex // one command at a time is under way
	conn *websocket.Conn
	last int
}

// thrift are settings that cost less CPU: Firefox keeps four processes for pages, instead of starting
// one for each page and one in reserve, and two open pages are still in different processes. It starts
// no process for extensions, and draws ten times a second.
const thrift = `
user_pref("fission.autostart", false);
user_pref("dom.ipc.processCount", 4);
user_pref("dom.ipc.keepProcessesAlive.web", 4);
user_pref("dom.ipc.processPrelaunch.enabled", false);
user_pref("extensions.webextensions.remote", false);
user_pref("layout.frame_rate", 10);
user_pref("ui.prefersReducedMotion", 1);
`

// newFirefox starts Firefox with a profile of its own, and ends it with the test.
func newFirefox(t *testing.T) *firefox {
	t.Helper()
	program := testkit.Program(t, "firefox-esr", "firefox")
	// Not t.TempDir: Firefox writes to it until it is gone.
	profile, err := os.MkdirTemp("", "outcrier-e2e-firefox-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(profile) })
	if !testkit.Long() {
		err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(thrift), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command(program, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "about:blank")
	command.Env = append(os.Environ(), "HOME="+profile, "MOZ_CRASHREPORTER_DISABLE=1")
	stderr, err := command.StderrPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		_ = command.Wait()
	})
	address := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if _, found, ok := strings.Cut(lines.Text(), "WebDriver BiDi listening on "); ok {
				address <- found
			}
		}
	}()
	f := &firefox{}
	select {
	case url := <-address:
		//nolint:bodyclose // of a WebSocket the library has it
		if f.conn, _, err = websocket.Dial(t.Context(), url+"/session", nil); err != nil {
			t.Fatal(err)
		}
	case <-time.After(2 * testkit.Deadline):
		t.Fatal("Firefox does not say where it listens")
	}
	f.conn.SetReadLimit(64 << 20)
	t.Cleanup(func() { _ = f.conn.CloseNow() })
	f.call(t, "session.new", map[string]any{"capabilities": map[string]any{}}, nil)
	return f
}

// call sends a command and waits for its result.
func (f *firefox) call(t *testing.T, method string, params any, result any) {
	t.Helper()
	if err := f.ask(method, params, result); err != nil {
		t.Fatal(err)
	}
}

func (f *firefox) ask(method string, params any, result any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 2*testkit.Deadline) // the first takes long
	defer cancel()
	f.last++
	if err := wsjson.Write(ctx, f.conn, map[string]any{"id": f.last, "method": method, "params": params}); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	for {
		var answer struct {
			ID             int
			Type           string
			Error, Message string
			Result         json.RawMessage
		}
		if err := wsjson.Read(ctx, f.conn, &answer); err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		if answer.Type == "event" || answer.ID != f.last {
			continue
		}
		if answer.Type != "success" {
			return fmt.Errorf("%s: %s: %s", method, answer.Error, answer.Message)
		}
		if result != nil {
			if err := json.Unmarshal(answer.Result, result); err != nil {
				return fmt.Errorf("%s: %w", method, err)
			}
		}
		return nil
	}
}

func (f *firefox) open(t *testing.T, url string) tab {
	t.Helper()
	var created struct{ Context string }
	f.call(t, "browsingContext.create", map[string]any{"type": "tab"}, &created)
	tab := &firefoxTab{f, created.Context}
	tab.navigate(t, url)
	return tab
}

type firefoxTab struct {
	*firefox
	context string
}

func (f *firefoxTab) navigate(t *testing.T, url string) {
	t.Helper()
	f.call(t, "browsingContext.navigate", map[string]any{"context": f.context, "url": url, "wait": "complete"}, nil)
}

func (f *firefoxTab) back(t *testing.T) {
	t.Helper()
	f.call(t, "browsingContext.traverseHistory", map[string]any{"context": f.context, "delta": -1}, nil)
	testkit.Eventually(t, "the page is back", func() bool {
		is, err := f.evaluate("location.pathname === '/page' && document.readyState === 'complete'")
		return err == nil && is == "true" // the page that is left can end in the midst of it
	})
}

func (f *firefoxTab) offline(t *testing.T, is bool) {
	t.Helper()
	var conditions any
	if is {
		conditions = map[string]any{"type": "offline"}
	}
	f.call(t, "emulation.setNetworkConditions", map[string]any{"networkConditions": conditions, "contexts": []string{f.context}}, nil)
}

func (f *firefoxTab) eval(t *testing.T, expression string) string {
	t.Helper()
	text, err := f.evaluate(expression)
	if err != nil {
		t.Fatalf("%.200s: %v", expression, err)
	}
	return text
}

func (f *firefoxTab) evaluate(expression string) (string, error) {
	var answer struct {
		Type             string
		Result           struct{ Value string }
		ExceptionDetails struct{ Text string }
	}
	err := f.ask("script.evaluate", map[string]any{
		"expression": fmt.Sprintf("(async () => JSON.stringify(await (%s)) ?? 'null')()", expression), "target": map[string]any{"context": f.context}, "awaitPromise": true,
	}, &answer)
	if err == nil && answer.Type != "success" {
		err = errors.New(answer.ExceptionDetails.Text)
	}
	return answer.Result.Value, err
}

func (f *firefoxTab) close(t *testing.T) {
	t.Helper()
	f.call(t, "browsingContext.close", map[string]any{"context": f.context}, nil)
}
