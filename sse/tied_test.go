package sse

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/wire"
)

// When a sequence was set back, two events can have one id. A stream that is cut off
// between them has not received the second: live, in a replay, and in batches.
func TestStream_LosesNoneOfTwoEventsWithOneID(t *testing.T) {
	for _, batch := range []time.Duration{0, time.Nanosecond} {
		for _, replayed := range []bool{false, true} {
			t.Run(fmt.Sprint(batch, " replayed ", replayed), func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *server) {
					request := Request{Batch: batch, From: From{Earliest: true}}
					live := s.open(t, request)
					live.next()
					var events []outbox.Event
					// Of the larger ones there is one a batch.
					large := json.RawMessage(`"` + strings.Repeat("p", wire.BatchBytes) + `"`)
					for i, id := range []int64{1, 3, 3, 4, 4, 4, 6} {
						e := outbox.Event{ID: id, XID: uint64(i + 1), Topic: "a", Type: "test.added", CreatedAt: epoch, Payload: payload200}
						if batch > 0 {
							e.Payload = large
						}
						events = append(events, e)
					}
					s.past.set(func() { s.past.events = append(s.past.events, events...) })
					s.tail(events...)
					c := live
					if replayed {
						c = s.open(t, request)
					}
					time.Sleep(time.Second)
					n := 0
					for _, e := range c.next() {
						if e.Type != "test.added" && e.Type != "outcrier.batch" {
							continue
						}
						at, err := testKeys.Open(e.ID)
						if err != nil || n == len(events) {
							t.Fatalf("event %d: %v", n, err)
						}
						for i, other := range events {
							has := at.Has(other.XID, other.ID)
							if i > n && has {
								t.Errorf("the position after event %d says that event %d was given", n, i)
							}
							if i <= n && !has && (n+1 == len(events) || other.ID != events[n+1].ID) {
								t.Errorf("the position after event %d says that event %d was not given", n, i)
							}
						}
						n++
					}
					if n != len(events) {
						t.Errorf("%d are given, want %d", n, len(events))
					}
				})
			})
		}
	}
}
