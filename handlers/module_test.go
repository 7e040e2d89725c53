package handlers_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	script "github.com/outcrier/outcrier/client"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse"
	"github.com/outcrier/outcrier/sse/hub"
)

// TestModule_IsForPagesOfAllOrigins looks at what browsers need to import the module
// from anywhere, and to keep it.
func TestModule_IsForPagesOfAllOrigins(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	const javascript, aWhile = "text/javascript; charset=utf-8", "public, max-age=600"
	files := map[string][3]string{
		"/client.js":     {javascript, " as connect,", aWhile},
		"/client.all.js": {javascript, " as connect,", aWhile},
		"/client.d.ts":   {"text/plain; charset=utf-8", "export function connect<", aWhile},
	}
	for name := range script.Parts() {
		files["/client/"+name] = [3]string{javascript, "export{", "public, max-age=31536000, immutable"}
	}
	for path, want := range files {
		got := do(t, "GET", n.url+path, "", "Origin", "https://elsewhere.example")
		if got.status != http.StatusOK || !strings.Contains(got.body, want[1]) {
			t.Errorf("%s: status %d, %.100s", path, got.status, got.body)
		}
		for name, value := range map[string]string{
			"Content-Type": want[0], "X-Content-Type-Options": "nosniff", "Cache-Control": want[2],
			"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin",
		} {
			if got.header.Get(name) != value {
				t.Errorf("%s: %s is %q, want %q", path, name, got.header.Get(name), value)
			}
		}
		tag := got.header.Get("ETag")
		if again := do(t, "GET", n.url+path, "", "If-None-Match", tag); tag == "" || again.status != http.StatusNotModified || again.body != "" {
			t.Errorf("%s: with its own ETag %s the answer is %d, want 304", path, tag, again.status)
		}
		if head := do(t, "HEAD", n.url+path, ""); head.status != http.StatusOK || head.header.Get("ETag") != tag {
			t.Errorf("%s: HEAD is answered %d", path, head.status)
		}
		do(t, "POST", n.url+path, "").wantProblem(t, http.StatusMethodNotAllowed, "GET")
	}
}

// TestModule_LoadsWhatIsServed asks for all that the module may load, where it stands.
func TestModule_LoadsWhatIsServed(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	imports := regexp.MustCompile(`import\("\./(client/[^"]+)"\)`).FindAllStringSubmatch(do(t, "GET", n.url+"/client.js", "").body, -1)
	if len(imports) != len(script.Parts()) {
		t.Errorf("%d imports, and %d parts", len(imports), len(script.Parts()))
	}
	for _, found := range imports {
		if got := do(t, "GET", n.url+"/"+found[1], ""); got.status != http.StatusOK {
			t.Errorf("%s is answered %d", found[1], got.status)
		}
	}
	if whole := do(t, "GET", n.url+"/client.all.js", "").body; strings.Contains(whole, `import("`) || strings.Contains(whole, `from"`) {
		t.Error("the whole module imports something")
	}
	do(t, "GET", n.url+"/client/none.js", "").wantProblem(t, http.StatusNotFound, "")
}

// TestModule_LeavesOtherPathsToHome looks at an application that has pages under /client.
func TestModule_LeavesOtherPathsToHome(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	server := httptest.NewServer(handlers.New(handlers.Config{
		Streamer: sse.NewStreamer(hub.New(&hub.Buffer{}), log), TailStatus: new(tail.Tail).Status, Log: log, Access: handlers.Access{Open: true},
		Home: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }),
	}))
	defer server.Close()
	for _, method := range []string{"GET", "POST"} {
		if got := do(t, method, server.URL+"/client/orders", ""); got.status != http.StatusTeapot {
			t.Errorf("%s is answered %d", method, got.status)
		}
	}
	for name := range script.Parts() {
		do(t, "POST", server.URL+"/client/"+name, "").wantProblem(t, http.StatusMethodNotAllowed, "GET")
	}
}
