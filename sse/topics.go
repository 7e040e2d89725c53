package sse

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/gobwas/ws"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/wire"
)

// On a WebSocket the client may change its topics while the stream goes on. A change takes
// effect at the stream's position: there the client gets outcrier.topics, and from that
// position on the events of all its topics, and of no others. It would get the same events
// if it reconnected with those topics and that position, so the position means the same
// before and after, whatever breaks.

// changeLive answers the waiting messages of a live stream. It reports whether the stream
// is then behind: unsent events must be selected by its new topics.
func (t *stream) changeLive(ctx context.Context) (isBehind bool, err error) {
	for message := t.inbox.next(); message != nil; message = t.inbox.next() {
		filter, err := t.change(ctx, message)
		if err != nil {
			return false, err
		}
		if filter != nil {
			w, idle := t.sub.SetFilter(*filter)
			if idle {
				t.joined.idle(w)
			}
			isBehind = isBehind || !idle
			t.setFilter(*filter, t.joined.at)
		}
		t.putTopics(t.joined.at)
	}
	return isBehind, nil
}

// changeInReplay answers the waiting messages of a stream that replays and has reached
// received. It returns from where to where the replay goes on.
func (t *stream) changeInReplay(ctx context.Context, received, w position.Position) (position.Position, position.Position, error) {
	changed := false
	for message := t.inbox.next(); message != nil; message = t.inbox.next() {
		filter, err := t.change(ctx, message)
		if err != nil {
			return received, w, err
		}
		if filter != nil {
			t.sub.SetFilter(*filter)
			t.setFilter(*filter, received)
			changed = true
		}
		t.putTopics(received)
	}
	if !changed {
		return received, w, nil
	}
	w, _ = t.sub.Rejoin()
	// Events removed meanwhile may be on the new topics.
	return t.revalidate(ctx, received, w)
}

// change handles a message. It returns the new filter if the topics change. The refusals
// are in the buffer then; with an error the stream ends, and has sent why.
func (t *stream) change(ctx context.Context, message []byte) (*outbox.Filter, error) {
	change, err := parseChange(message)
	if err != nil {
		return nil, t.sendGoodbye(refusedMessage(ws.StatusPolicyViolation, http.StatusBadRequest, err.Error()))
	}
	topics, refused := t.request.Change(ctx, change, t.request.Filter.Topics)
	for _, r := range refused {
		t.buf = wire.AppendRefused(t.buf, r)
	}
	if slices.Equal(topics, t.request.Filter.Topics) {
		return nil, nil
	}
	filter := t.request.Filter
	filter.Topics = topics
	return &filter, nil
}

// setFilter changes the filter. It begins the audit's record of the new topics where that of
// the old ones ends.
func (t *stream) setFilter(filter outbox.Filter, at position.Position) {
	if t.unrecorded > 0 {
		t.noteProgress(time.Since(t.pool.began))
	}
	t.request.Filter = filter
	if t.record != nil {
		t.record.Closed("topics")
		t.openRecord(at)
	}
}

// putTopics puts the answer to a message into the buffer: the topics from now on.
func (t *stream) putTopics(at position.Position) {
	topics := t.request.Filter.Topics
	if topics == nil {
		topics = []outbox.Pattern{}
	}
	t.putNotice(wire.Notice{Name: "topics", At: at, Data: struct {
		Topics []outbox.Pattern `json:"topics"`
	}{topics}})
}
