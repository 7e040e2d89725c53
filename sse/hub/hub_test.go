package hub

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// feed delivers reads of one event to a hub, one after the other.
type feed struct {
	hub *Hub
	at  position.Position
	id  int64
	// event is what each event is like.
	event outbox.Event
}

func newFeed(hub *Hub) *feed {
	f := &feed{hub: hub, at: position.Position{History: 1}, event: outbox.Event{Type: "t"}}
	hub.Start(f.at)
	return f
}

func (f *feed) read(topic string) {
	f.id++
	event := f.event
	event.ID, event.XID, event.Topic = f.id, uint64(f.id), topic
	to := after(event)
	f.hub.Deliver(tail.Read{From: f.at, To: to, Events: []outbox.Event{event}, First: true, Last: true})
	f.at = to
}

// after is the position of a reader that has the event and everything before it.
func after(e outbox.Event) position.Position {
	return position.Position{
		History: 1, EventID: e.ID, Given: position.Set{Max: e.XID}, Anchor: position.Anchor{XID: e.XID, Hash: uint32(e.XID)},
	}
}
