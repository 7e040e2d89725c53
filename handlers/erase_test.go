package handlers_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/sse/ssetest"
)

// An event that is erased or redacted by SQL reaches no reader that comes after the
// node has read the erasure, from memory or from the table, on a stream or by a poll;
// and it is no gap.
func TestErase_ReachesStreamsAndPolls(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	start := n.position(t)
	for _, payload := range []string{`"secret 1"`, `"secret 2"`, `"secret 3"`} {
		n.post(t, `{"topic":"user/42","type":"test.added","payload":`+payload+`}`).ids(t)
	}
	kept := n.add(t, "user/42")
	other := n.add(t, "other")
	n.seen(t, 5)
	live := ssetest.Open(t, n.events("topic=**&from=earliest"))
	live.Until("outcrier.live")
	erased := func(statement string) {
		t.Helper()
		before := n.streamer.Hub.Erasures()
		if _, err := n.pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return n.streamer.Hub.Erasures() > before })
	}
	erased(`SELECT outcrier.redact(1, '"gone"', 'asked')`)
	erased(`SELECT outcrier.erase(2, 'asked')`)
	erased(`UPDATE outcrier.event SET payload = '"by hand"' WHERE id = 3`)
	for _, query := range []string{"topic=**", "topic=user/*", "topic=user/42"} {
		from := "&after=" + q(start)
		p := n.poll(t, query+from)
		want := []string{"1", "3", kept}
		if query == "topic=**" {
			want = append(want, other)
		}
		if !slices.Equal(p.ids(), want) || string(p.Events[0].Data) != `"gone"` || string(p.Events[1].Data) != `"by hand"` || p.Gap != nil {
			t.Errorf("%s: %+v", query, p)
		}
		c := ssetest.Open(t, n.events(query), "Last-Event-ID", start)
		c.Until("outcrier.live")
		if text := string(c.Raw()); strings.Contains(text, "secret") || strings.Contains(text, `"resumed":"gap"`) || strings.Count(text, "\nevent: test.added\n") != len(want) {
			t.Errorf("%s: %s", query, text)
		}
	}
	// No reader receives a marker, and the events after it come once.
	next := n.add(t, "user/42")
	if e := live.Next(); !strings.HasPrefix(e.ID, next+".") {
		t.Errorf("behind the erasures comes %+v, want event %s", e, next)
	}
	do(t, "GET", n.events("topic="), "", "Accept", jsonAll).wantProblem(t, http.StatusBadRequest, "empty")
}

// An outbox that is reset, as test suites do, has another history: streams report a
// gap, and go on.
func TestReset_ReachesStreams(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	n.add(t, "a")
	n.seen(t, 1)
	start := n.position(t)
	c := ssetest.Open(t, n.events("topic=a&from=earliest"))
	c.Until("outcrier.live")
	if _, err := n.pool.Exec(t.Context(), `SELECT outcrier.reset()`); err != nil {
		t.Fatal(err)
	}
	if e := c.Until("outcrier.hello"); !strings.Contains(e.Data, `"other_history"`) {
		t.Errorf("it is told %s", e.Data)
	}
	next := n.add(t, "a")
	if e := c.Until("test.added"); !strings.HasPrefix(e.ID, next+".") {
		t.Errorf("%+v, want event %s", e, next)
	}
	if p := n.poll(t, "topic=a&wait=0&after="+q(start)); p.Gap == nil || p.Gap.Reason != "other_history" {
		t.Errorf("%+v", p)
	}
}
