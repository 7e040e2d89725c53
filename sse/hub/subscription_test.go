package hub

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/wire"
)

// The events that a lagging subscription reads from the replay buffer and those that
// are queued for it meet without a hole or a repeat, also when it reads a frame that
// the hub is about to queue.
func TestSubscription_RecallMeetsTheQueue(t *testing.T) {
	hub := New(&Buffer{})
	hub.QueueFrames = 2
	at := position.Position{History: 1}
	hub.Start(at)
	sub, _, err := hub.Subscribe(t.Context(), outbox.Filter{Topics: []outbox.Pattern{"a"}}, wire.CloudEvents, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	read := func(ids ...int64) tail.Read {
		r := tail.Read{From: at, First: true, Last: true}
		for _, id := range ids {
			r.Events = append(r.Events, outbox.Event{ID: id, XID: uint64(ids[0]), Topic: "a", Type: "t"})
		}
		r.To = after(r.Events[len(ids)-1])
		at = r.To
		return r
	}
	for id := range int64(5) { // the third does not fit
		hub.Deliver(read(id + 1))
	}
	// The replay buffer has the next two, and the hub is in the middle of Deliver.
	frames := hub.Buffer.deliver(read(6, 7), &wire.Read{From: at, To: at, Number: hub.reads + 1})

	var given []int64
	take := func() {
		taken, state, more := sub.Take(nil)
		for _, f := range taken {
			given = append(given, f.Event.ID)
		}
		if state != Current || more {
			t.Errorf("state %v, more %v", state, more)
		}
	}
	take()
	for i := range frames {
		if sub.push(&frames[i]) {
			t.Errorf("event %d was recalled, and is queued too", frames[i].Event.ID)
		}
	}
	take()
	hub.Deliver(read(8))
	take()
	if want := []int64{1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(given, want) {
		t.Errorf("given were %v, not %v", given, want)
	}
}

// What a subscription holds on to is in the replay buffer, too: when the replay buffer lets go of
// it, the subscription does.
func TestSubscription_HoldsNoFrameThatTheBufferDropped(t *testing.T) {
	feed := newFeed(New(&Buffer{Bytes: 3 * wire.Footprint(&outbox.Event{Topic: "x", Type: "t"})}))
	sub, _, err := feed.hub.Subscribe(t.Context(), outbox.Filter{Topics: []outbox.Pattern{"a"}}, wire.CloudEvents, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	for _, topic := range []string{"a", "x", "x", "x", "a"} {
		feed.read(topic)
	}
	if frames, state, _ := sub.Take(nil); len(frames) > 0 || state != Behind {
		t.Errorf("%d frames wait, state %v; the first is not in the replay buffer any more", len(frames), state)
	}
}

// Also when nothing is added to it any more, and its reader takes nothing: as soon as
// the replay buffer was filled twice.
func TestSubscription_HoldsNoFrameOfAQuietTopicThatTheBufferDropped(t *testing.T) {
	feed := newFeed(New(&Buffer{Bytes: 3 * wire.Footprint(&outbox.Event{Topic: "x", Type: "t"})}))
	sub, _, err := feed.hub.Subscribe(t.Context(), outbox.Filter{Topics: []outbox.Pattern{"a"}}, wire.CloudEvents, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	for _, topic := range []string{"x", "x", "x", "a", "x", "x", "x", "x", "x", "x", "x"} {
		feed.read(topic)
	}
	if len(sub.queue) > 0 || sub.state != Lagging {
		t.Errorf("%d frames wait, state %v", len(sub.queue), sub.state)
	}
	if frames, state, _ := sub.Take(nil); len(frames) > 0 || state != Behind {
		t.Errorf("%d frames wait, state %v", len(frames), state)
	}
}

func TestSubscription_HoldsBoundedBytes(t *testing.T) {
	hub := New(&Buffer{Bytes: -1})
	hub.QueueBytes = 10_000
	hub.Start(position.Position{History: 1})
	sub, _, err := hub.Subscribe(t.Context(), outbox.Filter{Topics: []outbox.Pattern{"a"}}, wire.CloudEvents, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	payload := json.RawMessage(`"` + strings.Repeat("p", 3000) + `"`)
	event := outbox.Event{ID: 1, XID: 1, Topic: "a", Type: "t", Payload: payload}
	for want := range 3 {
		if len(sub.queue) != want || sub.state != Current {
			t.Errorf("%d frames wait, state %v; want %d", len(sub.queue), sub.state, want)
		}
		hub.Deliver(tail.Read{To: after(event), Events: []outbox.Event{event}, First: true, Last: true})
	}
	hub.Deliver(tail.Read{To: after(event), Events: []outbox.Event{event}, First: true, Last: true})
	if frames, state, _ := sub.Take(nil); len(frames) != 0 || state != Behind || sub.bytes != 0 {
		t.Errorf("when it is full %d frames wait, %d bytes, state %v", len(frames), sub.bytes, state)
	}
	// One event that is larger than the queue goes through.
	sub.Rejoin()
	event.Payload = json.RawMessage(`"` + strings.Repeat("p", 30_000) + `"`)
	hub.Deliver(tail.Read{To: after(event), Events: []outbox.Event{event}, First: true, Last: true})
	if frames, state, more := sub.Take(nil); len(frames) != 1 || state != Current || more {
		t.Errorf("of one large event %d wait, state %v, more %v", len(frames), state, more)
	}
}

// A filter that changes while frames wait is that of none of them: they are found again.
func TestSubscription_IsBehindWhenItsFilterChangesWhileFramesWait(t *testing.T) {
	feed := newFeed(New(&Buffer{}))
	sub, _, err := feed.hub.Subscribe(t.Context(), outbox.Filter{Topics: []outbox.Pattern{"a"}}, wire.CloudEvents, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	feed.read("a")
	other := outbox.Filter{Topics: []outbox.Pattern{"b"}}
	if _, idle := sub.SetFilter(other); idle {
		t.Error("nothing waits, though a frame does")
	}
	if _, state, _ := sub.Take(nil); state != Behind {
		t.Errorf("the state is %d", state)
	}
	if w, _ := sub.Rejoin(); !w.Equal(feed.at) {
		t.Errorf("it rejoins at %v", w)
	}
	feed.read("a")
	if at, idle := sub.SetFilter(other); !idle || !at.Equal(feed.at) {
		t.Errorf("idle %v, at %v", idle, at)
	}
	feed.read("b")
	if frames, state, _ := sub.Take(nil); len(frames) != 1 || state != Current {
		t.Errorf("%d frames, state %d", len(frames), state)
	}
}
