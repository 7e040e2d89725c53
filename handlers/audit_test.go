package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// receipt is a row of outbox_receipts.
type receipt struct{ Topic, Why string }

// receipts are those of all streams, by event.
func (n *node) receipts(t *testing.T) (list []receipt) {
	t.Helper()
	rows, err := n.pool.Query(t.Context(), `SELECT topic, coalesce(why, 'open') FROM outbox_receipts ORDER BY id, stream`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var r receipt
		if err := rows.Scan(&r.Topic, &r.Why); err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// Who was sent what is on record: what was replayed, from the table and from
// memory, and what came live, on connections that were taken over and on others.
func TestAudit_RecordsWhatAStreamWasSent(t *testing.T) {
	for name, start := range map[string]func(*httptest.Server){"taken over": (*httptest.Server).Start, "over TLS": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, func(n *node) {
				n.start = start
				n.audit = &outbox.Audit{Pool: n.pool, Node: "n1"}
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
			var subject, remote, node string
			var events int
			err := n.pool.QueryRow(t.Context(), `SELECT subject, host(remote::inet), node, events FROM outbox_stream ORDER BY stream LIMIT 1`).Scan(&subject, &remote, &node, &events)
			if err != nil || remote != "127.0.0.1" || node != "n1" || events != 2 {
				t.Errorf("the first is of %q at %q on %q, %d events: %v", subject, remote, node, events, err)
			}
		})
	}
}

// runAudit runs the node's audit until the function is called.
func (n *node) runAudit(t *testing.T) (stop func()) {
	n.audit.Log = n.log
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
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
