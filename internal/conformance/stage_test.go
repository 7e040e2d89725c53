package conformance

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// fixture is a server with one fault, or none.
type fixture struct {
	fault string

	mu     sync.Mutex
	events []string
	more   chan struct{}
}

func (f *fixture) append(_ context.Context, payload string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, payload)
	close(f.more)
	f.more = make(chan struct{})
	return nil
}

func (f *fixture) after(n int) ([]string, chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events[n:]), f.more
}

// asData is a payload on one line that only LF ends.
var asData = strings.NewReplacer("\r", " ", "\n", " ", "\u2028", `\u2028`, "\u2029", `\u2029`, "\u0085", `\u0085`)

func (f *fixture) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream; charset=utf-8")
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no")
	f.mu.Lock()
	at := len(f.events)
	f.mu.Unlock()
	if last := r.Header.Get("Last-Event-ID"); last != "" && f.fault != "forgets" {
		at, _ = strconv.Atoi(last)
		if f.fault == "repeats" && at > 0 {
			at--
		}
	}
	hello := "event: hello\nretry: 100\ndata: {}\nid: %d\n\n"
	switch f.fault {
	case "media":
		header.Set("Content-Type", "text/plain")
	case "no retry":
		hello = "event: hello\ndata: {}\nid: %d\n\n"
	case "empty block":
		hello = "retry: 100\n\n" + hello
	}
	fmt.Fprintf(w, hello, at)
	for {
		events, more := f.after(at)
		if f.fault == "disorders" && len(events) == 1 { // so that there are two
			select {
			case <-more:
			case <-r.Context().Done():
				return
			}
			events, more = f.after(at)
			slices.Reverse(events)
		}
		for _, payload := range events {
			at++
			data := asData.Replace(payload)
			if f.fault == "splits" {
				data = strings.ReplaceAll(payload, "\r\n", "\n")
			}
			block := "data: %[1]s\nid: %[2]d\n\n"
			switch f.fault {
			case "id first":
				block = "id: %[2]d\ndata: %[1]s\n\n"
			case "no id":
				block = "data: %[1]s\n\n"
			}
			fmt.Fprintf(w, block, data, at)
		}
		w.(http.Flusher).Flush()
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

func newFixture(t *testing.T, fault string) *Stage {
	t.Helper()
	f := &fixture{fault: fault, more: make(chan struct{})}
	server := httptest.NewServer(f)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	stream, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &Stage{Stream: stream, Append: f.append, Patience: 8 * time.Second, Pause: 5 * time.Millisecond, Quiet: 100 * time.Millisecond, Log: t.Logf}
}

// TestStage_FindsFaults: a server without fault is well in each scene, and one with a
// fault is found out by the scene that is for it.
func TestStage_FindsFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fault, scene string
		found        func(Verdict) bool
	}{
		{"", "", func(Verdict) bool { return false }},
		{"forgets", "reset", func(v Verdict) bool { return v.Lost > 0 && v.Twice == 0 }},
		{"repeats", "reset", func(v Verdict) bool { return v.Twice > 0 && v.Lost == 0 }},
		{"repeats", "crash", func(v Verdict) bool { return v.Twice > 0 }},
		{"no id", "cut", func(v Verdict) bool { return v.Lost > 0 || v.Twice > 0 }},
		{"splits", "payloads", func(v Verdict) bool { return v.Altered > 0 || v.Lost > 0 }},
		{"disorders", "crash", func(v Verdict) bool { return v.Disordered > 0 }},
	} {
		t.Run(test.fault+" "+test.scene, func(t *testing.T) {
			t.Parallel()
			stage := newFixture(t, test.fault)
			if test.fault == "" {
				stage.Patience = testkit.Deadline
			}
			scenes := slices.DeleteFunc(slices.Clone(Scenes), func(s Scene) bool { return test.scene != "" && s.Name != test.scene })
			verdicts, err := stage.Play(t.Context(), []*Client{{Name: "source"}}, scenes)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range verdicts {
				switch stops := v.Scene == "502" || v.Scene == "204"; {
				case test.fault != "" && !test.found(v):
					t.Errorf("%s: %s", v.Scene, v)
				case test.fault == "" && stops != (v.Ended != ""):
					t.Errorf("%s: %s, though the standard says else", v.Scene, v)
				case test.fault == "" && !stops && !v.OK():
					t.Errorf("%s: %s", v.Scene, v)
				}
			}
			if test.fault == "" && len(verdicts) != len(Scenes)-1 {
				t.Errorf("%d verdicts, want one for each scene but the drain", len(verdicts))
			}
		})
	}
}

// TestInspect_FindsFaults: each fault breaks the rule that is for it, and no other.
func TestInspect_FindsFaults(t *testing.T) {
	for fault, want := range map[string][]string{
		"": nil, "media": {"content type"}, "no retry": {"retry"}, "empty block": {"data"},
		"id first": {"id last"}, "no id": {"id"}, "splits": {"id", "data", "line breaks"},
	} {
		stage := newFixture(t, fault)
		findings, err := Inspect(t.Context(), stage.Stream, stage.Append)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range findings {
			got = append(got, f.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("a server with the fault %q breaks the rules %q, want %q", fault, got, want)
		}
	}
}

// TestWire: what this server sends keeps each rule.
func TestWire(t *testing.T) {
	database := outboxtest.URL(t)
	node := newNode(t, database)
	node.Ready(t)
	findings, err := Inspect(t.Context(), streamOf(node), appendTo(t, database))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Errorf("%s: %s. Seen: %s", f.Name, f.Text, f.Seen)
	}
}

// TestHolds: an event is as it was appended also with other spaces, or in an envelope; with
// another value it is altered.
func TestHolds(t *testing.T) {
	const payload = `{"conformance": 7, "text": "a\u0062"}`
	for data, want := range map[string]bool{
		payload:                            true,
		`{"text":"ab","conformance":7}`:    true,
		`{"data":[` + payload + `]}`:       true,
		`{"conformance":7,"text":"a"}`:     false,
		`{"conformance":8,"text":"ab"}`:    false,
		`{"conformance":7,"text":"ab"`:     false,
		`{"data":{"conformance":7},"x":1}`: false,
	} {
		if got := holds(data, payload); got != want {
			t.Errorf("%s holds %s: %v", data, payload, got)
		}
	}
}
