package sse

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/wire"
)

// world is a model of Postgres: transactions take xids and ids at any time and
// end in any order. Some erase or redact events that are committed, and append a marker
// with that.
type world struct {
	xid, completed uint64
	id             int64
	commits        int
	open           []*transaction
	committed      map[int64]written
}

type transaction struct {
	xid     uint64
	events  []written
	changes []change
}

// written is an event, with how many transactions had committed when its id was
// drawn, and when its own did. Its payload is the number of its changes.
type written struct {
	outbox.Event
	drawn, committed int
	changes          []change
}

// change erases or redacts an event, and marker is the event that tells so.
type change struct {
	id, marker int64
	erases     bool
}

func (w *world) append(tx *transaction, topic string) int64 {
	if tx.xid == 0 {
		w.xid++
		tx.xid = w.xid
	}
	w.id++
	event := outbox.Event{ID: w.id, XID: tx.xid, Topic: topic, Type: "t", Payload: json.RawMessage("0"), CreatedAt: epoch}
	tx.events = append(tx.events, written{Event: event, drawn: w.commits})
	return w.id
}

func (w *world) change(tx *transaction, id int64, erases bool) {
	tx.changes = append(tx.changes, change{id, w.append(tx, ""), erases})
}

// held are the ids of the events that are committed and not erased.
func (w *world) held() (ids []int64) {
	for id, e := range w.committed {
		if e.Topic != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (w *world) end(i int, commit bool) {
	tx := w.open[i]
	w.open = slices.Delete(w.open, i, i+1)
	w.completed = max(w.completed, tx.xid)
	if !commit {
		return
	}
	w.commits++
	for _, e := range tx.events {
		e.committed = w.commits
		w.committed[e.ID] = e
	}
	for _, c := range tx.changes {
		e := w.committed[c.id]
		e.changes = append(slices.Clip(e.changes), c)
		e.Payload = json.RawMessage(strconv.Itoa(len(e.changes)))
		if c.erases {
			e.Topic = ""
		}
		w.committed[c.id] = e
	}
}

// read is the whole read of a tail whose position is from.
func (w *world) read(from position.Position) tail.Read {
	to := from
	var events []outbox.Event
	for _, e := range w.committed {
		if !from.Given.Has(e.XID) {
			events = append(events, e.Event)
			to.EventID = max(to.EventID, e.ID)
			to.Given.Max = max(to.Given.Max, e.XID)
		}
	}
	to.Anchor = position.Anchor{XID: to.Given.Max}
	to.Given.Except = nil
	for _, tx := range w.open {
		// A snapshot's xmax is the latest completed + 1.
		if tx.xid > 0 && tx.xid < to.Given.Max && tx.xid <= w.completed {
			to.Given.Except = append(to.Given.Except, tx.xid)
		}
	}
	slices.Sort(to.Given.Except)
	slices.SortFunc(events, func(a, b outbox.Event) int { return cmp.Compare(a.ID, b.ID) })
	return tail.Read{From: from, To: to, Events: events}
}

// stretch are the events of a stretch, from the replay buffer if it has them, else from the table.
func (w *world) stretch(buffer *hub.Buffer, stretch replay.Range) (events []outbox.Event) {
	if page, ok := buffer.Page(nil, stretch, anything, 1<<30, 1<<30, func(*wire.Frame) int { return 1 }); ok && page.Done {
		for _, f := range page.Frames {
			events = append(events, *f.Event)
		}
		return events
	}
	past := &table{}
	for _, e := range w.committed {
		past.events = append(past.events, e.Event)
	}
	page, _ := past.Replay(context.Background(), stretch, anything, 1<<30, 0) // it can't fail
	return page.Events
}

// onNoTopic reports whether an event is a marker, which no reader receives.
func onNoTopic(e outbox.Event) bool { return e.Topic == "" }

var anything = outbox.Filter{Topics: []outbox.Pattern{"**"}}

// follower is a hub and the tail that feeds it, part by part.
type follower struct {
	hub *hub.Hub
	at  position.Position
	// parts are the parts of the present read that are still to come.
	parts []tail.Read
	// strips is set when its tail leaves out events that reach no reader.
	strips bool
	// reached are the markers that its tail has read.
	reached map[int64]bool
}

func (n *follower) read(t *rapid.T, w *world) {
	read := w.read(n.at)
	rest := read.Events
	for first := true; first || len(rest) > 0; first = false {
		size := min(len(rest), rapid.IntRange(1, 3).Draw(t, "part"))
		part := tail.Read{From: read.From, To: read.To, Events: rest[:size], First: first, Last: size == len(rest)}
		part.Forget = slices.ContainsFunc(part.Events, onNoTopic)
		n.parts = append(n.parts, part)
		rest = rest[size:]
	}
}

func (n *follower) deliver() {
	part := n.parts[0]
	n.parts = n.parts[1:]
	for _, e := range part.Events {
		if e.Topic == "" {
			n.reached[e.ID] = true
		}
	}
	if n.strips {
		part.Events = slices.DeleteFunc(slices.Clone(part.Events), onNoTopic)
	}
	n.hub.Deliver(part)
	if part.Last {
		n.at = part.To
	}
}

// reader is a client, and the stream that serves it, if one does. It keeps the
// text of its position, as a browser does.
type reader struct {
	position string
	got      []int64

	node   *follower
	sub    *hub.Subscription
	joined join
}

// give returns an event as a node has it: never as it was before a change that the node
// has read.
func (r *reader) give(t *rapid.T, w *world, e outbox.Event, at position.Position) {
	for i, c := range w.committed[e.ID].changes {
		if r.node.reached[c.marker] && (c.erases || string(e.Payload) == strconv.Itoa(i)) {
			t.Errorf("event %d was sent as %q, after its node had read that it is erased (%v) or changed", e.ID, e.Payload, c.erases)
		}
	}
	r.got, r.position = append(r.got, e.ID), sealed(at)
}

// connect opens a stream at a node, which is dropped after most events.
func (r *reader) connect(t *rapid.T, w *world, n *follower, most int) {
	sub, at, err := n.hub.Subscribe(context.Background(), anything, wire.CloudEvents, nil)
	if err != nil {
		t.Fatal(err)
	}
	given, err := testKeys.Open(r.position)
	if err != nil {
		t.Fatal(err)
	}
	r.sub, r.node = sub, n
	r.replay(t, w, given, at, most)
}

// replay brings the stream from its position to the hub's, and joins it there.
func (r *reader) replay(t *rapid.T, w *world, given, at position.Position, most int) {
	for _, stretch := range replay.Ranges(given, at) {
		for _, e := range w.stretch(r.node.hub.Buffer, stretch) {
			if most == 0 {
				r.drop()
				return
			}
			most--
			r.give(t, w, e, stretch.At(e.ID))
		}
		given = stretch.To
	}
	r.joined = newJoin(given, at)
}

// live takes what the hub has queued; the stream is dropped after most events.
func (r *reader) live(t *rapid.T, w *world, most int) {
	var state hub.State
	for more := true; more; {
		var frames []*wire.Frame
		frames, state, more = r.sub.Take(nil)
		for _, f := range frames {
			if !r.joined.admit(f) {
				continue
			}
			if most == 0 {
				r.drop()
				return
			}
			most--
			r.give(t, w, *f.Event, r.joined.at)
		}
	}
	if state == hub.Behind {
		at, _ := r.sub.Rejoin()
		r.replay(t, w, r.joined.at, at, most)
	}
}

// beat writes the position down, as a quiet stream does.
func (r *reader) beat() {
	if at, idle := r.sub.Idle(); idle {
		r.joined.idle(at)
	}
	r.position = sealed(r.joined.at)
}

func (r *reader) drop() {
	r.sub.Close()
	r.sub = nil
}

// check compares the events that the reader received with the committed ones.
func (r *reader) check(t *rapid.T, w *world) {
	times := map[int64]int{}
	for i, id := range r.got {
		times[id]++
		if _, ok := w.committed[id]; !ok {
			t.Errorf("event %d was given and never committed", id)
		}
		for _, later := range r.got[i+1:] {
			if w.committed[later].committed <= w.committed[id].drawn {
				t.Errorf("event %d came before event %d, whose transaction had committed before it was appended", id, later)
			}
		}
	}
	for id, e := range w.committed {
		switch n := times[id]; {
		case e.Topic == "" && len(e.changes) == 0 && n > 0:
			t.Errorf("event %d was given, and is on no topic", id)
		case e.Topic == "" && n > 1, e.Topic != "" && n != 1:
			t.Errorf("event %d was given %d times: %v", id, n, r.got)
		}
	}
}

// Whatever the history, wherever the streams are dropped and resume, at a node
// that lags and in the middle of its reads too.
func TestJoin_GivesEachEventOnceWhateverTheHistory(t *testing.T) {
	for range 10 {
		rapid.Check(t, giveEachEventOnce)
	}
}

func giveEachEventOnce(t *rapid.T) {
	w := &world{committed: map[int64]written{}}
	var nodes []*follower
	for range 2 {
		n := &follower{hub: newHub(&hub.Buffer{Bytes: rapid.SampledFrom([]int{-1, 2000, 10_000, 0}).Draw(t, "buffer bytes")}), reached: map[int64]bool{}}
		n.strips = rapid.Bool().Draw(t, "strips")
		n.hub.QueueFrames = rapid.IntRange(1, 20).Draw(t, "queue")
		n.hub.Start(n.at)
		nodes = append(nodes, n)
	}
	readers := []*reader{{position: sealed(position.Position{})}, {position: sealed(position.Position{})}}
	some := func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(t, what) }
	few := func() int { return some("events", 12) }
	for range rapid.IntRange(1, 150).Draw(t, "steps") {
		n, r := nodes[some("node", len(nodes))], readers[some("reader", len(readers))]
		switch step := some("step", 22); {
		case step < 3 || len(w.open) == 0:
			w.open = append(w.open, &transaction{})
		case step < 7:
			tx := w.open[some("transaction", len(w.open))]
			for range rapid.IntRange(1, 3).Draw(t, "appends") {
				w.append(tx, "a")
			}
		case step < 10:
			w.end(some("transaction", len(w.open)), some("abort", 4) > 0)
		case step < 14:
			if len(n.parts) == 0 {
				n.read(t, w)
			}
			n.deliver()
		case step == 14 && some("restart", 4) == 0:
			n.parts, n.at = nil, w.read(position.Position{}).To
			for id := range w.committed {
				n.reached[id] = true
			}
			n.hub.Start(n.at)
		case step >= 20:
			if held := w.held(); len(held) > 0 {
				w.change(w.open[some("transaction", len(w.open))], held[some("event", len(held))], rapid.Bool().Draw(t, "erases"))
			}
		case r.sub == nil:
			r.connect(t, w, n, few())
		case step == 15:
			r.drop()
		case step == 16:
			r.beat()
		default:
			r.live(t, w, few())
		}
	}
	for len(w.open) > 0 {
		w.end(0, rapid.Bool().Draw(t, "commit"))
	}
	// All nodes read all there is, and each reader gets the rest.
	for _, n := range nodes {
		for range 2 {
			for len(n.parts) > 0 {
				n.deliver()
			}
			n.read(t, w)
		}
		for len(n.parts) > 0 {
			n.deliver()
		}
	}
	for _, r := range readers {
		if r.sub == nil {
			r.connect(t, w, nodes[some("node", len(nodes))], 1<<30)
		}
		r.live(t, w, 1<<30)
		r.beat()
		r.check(t, w)
		r.drop()
	}
	for _, n := range nodes {
		if left := n.hub.Subscriptions(); left > 0 {
			t.Errorf("%d are subscribed that have gone", left)
		}
	}
}

// Events that reach the hub while a stream looks for its start wait in its queue, and
// are not replayed too, though the table has them by then.
func TestJoin_EventCommittedMeanwhileComesOnce(t *testing.T) {
	fromTable(t, func(t *testing.T, s *server) {
		s.commit("a", 1)
		meanwhile := s.store("a", 1)
		s.past.gap = func(position.Position) *position.Gap {
			s.tail(meanwhile...)
			meanwhile = nil
			return nil
		}
		got := ids(s.open(t, Request{From: From{Position: sealed(position.Position{History: 1})}}).next())
		if want := []string{"1", "2"}; !slices.Equal(got, want) {
			t.Errorf("given were %v, not %v", got, want)
		}
	})
}
