package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// receipt is a row of the view receipts.
type receipt struct{ Topic, EndReason string }

// receipts are those of all streams, by event.
func (n *node) receipts(t *testing.T) (list []receipt) {
	t.Helper()
	rows, err := n.pool.Query(t.Context(), `SELECT topic, coalesce(end_reason, 'open') FROM outcrier.receipts ORDER BY id, stream`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var r receipt
		if err := rows.Scan(&r.Topic, &r.EndReason); err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// The record says which events each reader was sent: replayed ones, from the table and
// from memory, and live ones, on connections that were taken over and on others.
func TestAudit_RecordsWhatAStreamWasSent(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*httptest.Server){"taken over": (*httptest.Server).Start, "over TLS": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, func(n *node) {
				n.start = start
				n.audit = &audit.Recorder{Pool: n.pool, Node: "n1"}
			})
			stopped := n.runAudit(t)
			n.add(t, "a")
			n.add(t, "b")
			n.seen(t, 2)
			early := ssetest.Open(t, n.events("topic=a&from=earliest"))
			early.Until("outcrier.live")
			n.add(t, "a")
			n.add(t, "b")
			for e := early.Next(); ; e = early.Next() {
				var envelope struct{ Topic string }
				if json.Unmarshal([]byte(e.Data), &envelope) == nil && envelope.Topic == "a" {
					break
				}
			}
			n.seen(t, 4)
			late := ssetest.Open(t, n.events("topic=a&topic=b"))
			late.Until("outcrier.live")
			n.add(t, "b")
			late.Next()
			early.Close()
			late.Close()
			eventually(t, func() bool { return n.streamer.Open() == 0 })
			eventually(t, func() bool { return len(n.receipts(t)) == 3 })
			stopped()
			if got, want := n.receipts(t), []receipt{{"a", "left"}, {"a", "left"}, {"b", "left"}}; !slices.Equal(got, want) {
				t.Errorf("on record are %v, want %v", got, want)
			}
			var subject, address, node string
			var events int
			err := n.pool.QueryRow(t.Context(), `SELECT subject, host(client_address::inet), node, events FROM outcrier.stream ORDER BY stream LIMIT 1`).Scan(&subject, &address, &node, &events)
			if err != nil || address != "127.0.0.1" || node != "n1" || events != 2 {
				t.Errorf("the first is of %q at %q on %q, %d events: %v", subject, address, node, events, err)
			}
		})
	}
}

// A long poll is a way of reading too: one that returned events is on record, one that
// returned none, was refused or did not reach its client is not.
func TestAudit_RecordsWhatAPollGave(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) { n.audit = &audit.Recorder{Pool: n.pool, Node: "n1"} })
	stopped := n.runAudit(t)
	began := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	poll := func(query string) (polled struct {
		Events   []json.RawMessage
		Position string
	}) {
		t.Helper()
		a := do(t, "GET", n.events(query), "", "Accept", jsonAll)
		if err := json.Unmarshal([]byte(a.body), &polled); a.status != 200 || err != nil {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return polled
	}
	n.add(t, "a")
	n.add(t, "b")
	n.add(t, "a")
	n.seen(t, 3)
	first := poll("topic=a&from=earliest&wait=0&limit=1")
	second := poll("topic=a&wait=0&after=" + url.QueryEscape(first.Position))
	if len(first.Events) != 1 || len(second.Events) != 1 {
		t.Fatalf("given are %d and %d", len(first.Events), len(second.Events))
	}
	poll("topic=a&wait=0&after=" + url.QueryEscape(second.Position)) // nothing
	// Up to a position, in two pages.
	until := "&until=" + url.QueryEscape(second.Position)
	page := poll("topic=a&topic=b&limit=2&from=earliest" + until)
	rest := poll("topic=a&topic=b&limit=2&after=" + url.QueryEscape(page.Position) + until)
	if len(page.Events) != 2 || len(rest.Events) != 1 {
		t.Fatalf("up to a position are given %d and %d", len(page.Events), len(rest.Events))
	}
	if a := do(t, "GET", n.events("topic=a&wait=x"), "", "Accept", jsonAll); a.status != 400 {
		t.Fatalf("%d", a.status)
	}
	// A poll that starts at a time, and one that waited for its events.
	waiting := make(chan int)
	go func() {
		a := do(t, "GET", n.events("topic=c&wait=20s&from="+url.QueryEscape(began)), "", "Accept", jsonAll)
		waiting <- a.status
	}()
	eventually(t, func() bool { return n.streamer.Open() == 1 })
	n.add(t, "c")
	if status := <-waiting; status != 200 {
		t.Fatalf("%d", status)
	}
	stopped()
	if got, want := n.receipts(t), []receipt{{"a", "polled"}, {"a", "polled"}, {"b", "polled"}, {"a", "polled"}, {"a", "polled"}, {"c", "polled"}}; !slices.Equal(got, want) {
		t.Errorf("on record are %v, want %v", got, want)
	}
	var rows, events, wrong int
	err := n.pool.QueryRow(t.Context(), `SELECT count(*), sum(events), count(*) FILTER (WHERE opened_at > position_at) FROM outcrier.stream`).Scan(&rows, &events, &wrong)
	if err != nil || rows != 5 || events != 6 || wrong != 0 {
		t.Errorf("%d rows of %d events, %d with times out of order: %v", rows, events, wrong, err)
	}
}

// runAudit runs the node's audit until the function is called.
func (n *node) runAudit(t *testing.T) (stop func()) {
	n.audit.Log = n.log
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.audit.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("the audit ended with %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}
