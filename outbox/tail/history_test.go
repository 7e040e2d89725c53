package tail

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/table"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"pgregory.net/rapid"
)

// history is Postgres as far as positions are concerned: transactions take xids
// and ids at any time and end in any order.
type history struct {
	xid, completed uint64
	id             int64
	commits        int
	open           []*transaction
	committed      []modelEvent
}

type transaction struct {
	xid    uint64 // 0 until it writes
	events []modelEvent
}

// modelEvent knows how many transactions had committed when its id was drawn,
// and when its own did.
type modelEvent struct {
	outbox.Event
	drawn, committed int
}

func (h *history) write(tx *transaction) {
	if tx.xid == 0 {
		h.xid++
		tx.xid = h.xid
	}
}

func (h *history) append(tx *transaction) {
	h.write(tx)
	h.id++
	tx.events = append(tx.events, modelEvent{Event: outbox.Event{ID: h.id, XID: tx.xid}, drawn: h.commits})
}

func (h *history) end(i int, commit bool) {
	tx := h.open[i]
	h.open = slices.Delete(h.open, i, i+1)
	h.completed = max(h.completed, tx.xid)
	if !commit {
		return
	}
	h.commits++
	for _, e := range tx.events {
		e.committed = h.commits
		h.committed = append(h.committed, e)
	}
}

// snapshot is pg_current_snapshot, whose xmax is the latest completed xid + 1:
// transactions in progress above it are not listed.
func (h *history) snapshot() string {
	xmin, xip := h.completed+1, ""
	for _, tx := range slices.SortedFunc(slices.Values(h.open), func(a, b *transaction) int { return cmp.Compare(a.xid, b.xid) }) {
		if tx.xid > 0 && tx.xid <= h.completed {
			xmin = min(xmin, tx.xid)
			xip += fmt.Sprintf(",%d", tx.xid)
		}
	}
	return fmt.Sprintf("%d:%d:%s", xmin, h.completed+1, strings.TrimPrefix(xip, ","))
}

// visible are the committed events that match, by id.
func (h *history) visible(match func(outbox.Event) bool) []outbox.Event {
	var events []outbox.Event
	for _, e := range h.committed {
		if match(e.Event) {
			events = append(events, e.Event)
		}
	}
	slices.SortFunc(events, func(a, b outbox.Event) int { return cmp.Compare(a.ID, b.ID) })
	return events
}

// read is the tail's read of this history.
func (h *history) read(t *rapid.T, from position.Position) Read {
	r := table.SnapshotRow{Snapshot: h.snapshot()}
	for _, e := range h.committed {
		if e.XID > from.Given.Max && e.XID >= r.XID {
			r.XID, r.ID, r.CreatedAt = e.XID, e.ID, time.Time{}
		}
	}
	to, _, err := table.Advance(from, r)
	if err != nil {
		t.Fatal(err)
	}
	events := h.visible(func(e outbox.Event) bool { return !from.Given.Has(e.XID) })
	return Read{From: from, To: to, Events: events, First: true, Last: true}
}

// reader is a client: it keeps the text of its position, as a browser does.
type reader struct {
	position string
	got      []int64
}

func (r *reader) give(e outbox.Event, at position.Position) {
	r.got, r.position = append(r.got, e.ID), historyKeys.Seal(at)
}

// replay resumes at a node that stands at w and takes most events at most.
func (r *reader) replay(t *rapid.T, h *history, w position.Position, most int) {
	p, err := historyKeys.Open(r.position)
	if err != nil {
		t.Fatalf("%s: %v", r.position, err)
	}
	for _, rng := range replay.Ranges(p, w) {
		for _, e := range h.visible(func(e outbox.Event) bool {
			return e.ID > rng.After && rng.To.Given.Has(e.XID) && !rng.From.Given.Has(e.XID)
		}) {
			if most == 0 {
				return
			}
			most--
			r.give(e, rng.At(e.ID))
		}
		p = rng.To
	}
	r.position = historyKeys.Seal(p.Join(w))
}

// check compares the events that the reader received with the committed ones.
func (r *reader) check(t *rapid.T, h *history) {
	events := map[int64]modelEvent{}
	for _, e := range h.committed {
		events[e.ID] = e
	}
	times := map[int64]int{}
	for i, id := range r.got {
		times[id]++
		if _, ok := events[id]; !ok {
			t.Errorf("event %d was given and never committed", id)
		}
		for _, later := range r.got[i+1:] {
			if events[later].committed <= events[id].drawn {
				t.Errorf("event %d came before event %d, whose transaction had committed before it was appended", id, later)
			}
		}
	}
	for id := range events {
		if times[id] != 1 {
			t.Errorf("event %d was given %d times: %v", id, times[id], r.got)
		}
	}
}

func TestPosition_GivesEachEventOnceWhateverTheHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{}
		// Two nodes, of which either may lag, and a reader that is dropped
		// and resumes anywhere.
		nodes := make([]position.Position, 2)
		r := &reader{position: historyKeys.Seal(position.Position{})}
		some := func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(t, what) }
		open := func(t *rapid.T) int {
			if len(h.open) == 0 {
				t.Skip("none is open")
			}
			return some("transaction", len(h.open))
		}
		t.Repeat(map[string]func(*rapid.T){
			"begin":  func(*rapid.T) { h.open = append(h.open, &transaction{}) },
			"write":  func(t *rapid.T) { h.write(h.open[open(t)]) },
			"append": func(t *rapid.T) { h.append(h.open[open(t)]) },
			"more":   func(t *rapid.T) { h.append(h.open[open(t)]) },
			"commit": func(t *rapid.T) { h.end(open(t), true) },
			"abort":  func(t *rapid.T) { h.end(open(t), false) },
			"read": func(t *rapid.T) {
				n := some("node", len(nodes))
				read := h.read(t, nodes[n])
				nodes[n] = read.To
				p, _ := historyKeys.Open(r.position)
				if p.Within != nil || !p.Given.Covers(read.From.Given) || !read.From.Given.Covers(p.Given) {
					return
				}
				// The reader is live there, and may be dropped within.
				taken := some("taken live", len(read.Events)+1)
				for i, e := range read.Events[:taken] {
					r.give(e, read.At(i))
				}
			},
			"resume": func(t *rapid.T) { r.replay(t, h, nodes[some("node", len(nodes))], some("taken", 6)) },
		})
		for len(h.open) > 0 {
			h.end(0, rapid.Bool().Draw(t, "commit"))
		}
		r.replay(t, h, h.read(t, nodes[0]).To, 1<<30)
		r.check(t, h)
	})
}

func TestLegs_OfACaughtUpReaderAreNone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := position.Position{Given: drawGiven(t, "given")}
		for _, rng := range replay.Ranges(p, position.Position{Given: drawGiven(t, "w")}) {
			p = rng.To
			if rest := replay.Ranges(p, rng.To); len(rest) > 0 {
				t.Errorf("after all ranges there are %v", rest)
			}
		}
	})
}

// historyKeys write the positions of the model's readers.
var historyKeys = position.NewKeys()

// drawGiven draws a set from few transactions, so that chance meets every border.
func drawGiven(t *rapid.T, label string) position.Set {
	s := position.Set{Max: rapid.Uint64Range(0, 12).Draw(t, label+" max")}
	for xid := uint64(1); xid < s.Max; xid++ {
		if rapid.Bool().Draw(t, label+" except") {
			s.Except = append(s.Except, xid)
		}
	}
	return s
}
