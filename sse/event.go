package sse

import (
	"context"
	"math"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
)

// Event reads one event by its id, as soon as it is committed, whatever the hub has read.
// It returns the positions of a reader before and after the event too, for the audit. Two
// events can have one id where the sequence was set back: then it is the one that was
// appended last.
func (s *Streamer) Event(ctx context.Context, id int64) (event outbox.Event, before, after position.Position, found bool, err error) {
	for {
		// Without a tail's position: only the table counts.
		earliest, err := s.Hub.Buffer.Earliest(ctx, position.Position{})
		if err != nil {
			return event, before, after, false, err
		}
		all := earliest
		all.Given = position.Set{Max: math.MaxInt64, Except: []uint64{}}
		page, erasures, err := s.Hub.Buffer.ReplayTable(ctx, replay.Range{From: earliest, To: all, After: id - 1}, anyTopic, 1, 0)
		if err != nil {
			return event, before, after, false, err
		}
		if s.Hub.Erasures() != erasures {
			continue
		}
		for _, e := range page.Events {
			if e.ID == id && (!found || e.CreatedAt.After(event.CreatedAt)) {
				event, found = e, true
			}
		}
		before = position.Position{
			History: earliest.History, EventID: id - 1, Given: position.Set{Max: event.XID - 1}, Within: &position.Set{Max: event.XID},
			Anchor: position.Anchor{XID: event.XID}, Removal: earliest.Removal,
		}
		after = before
		after.EventID = id
		return event, before, after, found, nil
	}
}

var anyTopic = outbox.Filter{Topics: []outbox.Pattern{"**"}}
