package handlers_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/sse/wire"
)

// An answer is compressed only if the operator allows it and the client accepts it, and
// its header says so.
func TestGzip_IsForWhoAcceptsIt(t *testing.T) {
	t.Parallel()
	on, off := newNode(t, func(n *node) { n.gzip = true }), newNode(t, nil)
	for _, test := range []struct {
		node   *node
		accept string
		want   string
	}{
		{on, "gzip", "gzip"},
		{on, "deflate, GZIP;q=0.5, br", "gzip"},
		{on, "x-gzip", "gzip"},
		{on, "*", "gzip"},
		{on, "br, * ; q=0.1", "gzip"},
		{on, "gzip; q=0", ""},
		{on, "gzip;q=0, *", ""},
		{on, "*;q=0", ""},
		{on, "gzip;q=x", ""},
		{on, "identity", ""},
		{on, "", ""},
		{off, "gzip", ""},
	} {
		for _, kind := range []string{"application/json", "text/event-stream"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, test.node.events("topic=a"+map[bool]string{true: "&wait=0"}[kind != "text/event-stream"]), nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Accept", kind)
			request.Header.Set("Accept-Encoding", test.accept)
			response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			vary := strings.Contains(strings.Join(response.Header.Values("Vary"), ","), "Accept-Encoding")
			if got := response.Header.Get("Content-Encoding"); got != test.want || vary != (test.node == on) {
				t.Errorf("%s with Accept-Encoding %q: Content-Encoding %q, want %q; Vary %v", kind, test.accept, got, test.want, response.Header.Values("Vary"))
			}
			first := make([]byte, 2)
			if _, err := io.ReadFull(response.Body, first); err != nil || bytes.Equal(first, []byte("\x1f\x8b")) != (test.want != "") {
				t.Errorf("%s with Accept-Encoding %q begins with %q: %v", kind, test.accept, first, err)
			}
			_ = response.Body.Close()
		}
	}
}

func TestGzip_PollIsWhole(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) { n.gzip = true })
	for range 100 {
		n.add(t, "a")
	}
	n.seen(t, 100)
	a := do(t, "GET", n.events("topic=a&from=earliest&wait=0"), "", "Accept", "application/json", "Accept-Encoding", "gzip")
	text, err := gzip.NewReader(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	var p poll
	if err := json.NewDecoder(text).Decode(&p); err != nil || len(p.Events) != 100 {
		t.Errorf("%d events: %v", len(p.Events), err)
	}
	if text.Comment == wire.GzipComment {
		t.Error("it is taken for a stream")
	}
	if len(a.body) > 100*100 {
		t.Errorf("100 events are %d bytes", len(a.body))
	}
}
