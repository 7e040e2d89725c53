package handlers_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestModule_IsForPagesOfAllOrigins looks at what browsers need to import the module
// from anywhere, and to keep it.
func TestModule_IsForPagesOfAllOrigins(t *testing.T) {
	n := newNode(t, nil)
	for path, want := range map[string][2]string{
		"/client.js":   {"text/javascript; charset=utf-8", " as connect,"},
		"/client.d.ts": {"text/plain; charset=utf-8", "export function connect<"},
	} {
		got := do(t, "GET", n.url+path, "", "Origin", "https://elsewhere.example")
		if got.status != http.StatusOK || !strings.Contains(got.body, want[1]) {
			t.Errorf("%s: status %d, %.100s", path, got.status, got.body)
		}
		for name, value := range map[string]string{
			"Content-Type": want[0], "X-Content-Type-Options": "nosniff", "Cache-Control": "public, max-age=600",
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
