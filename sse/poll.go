package sse

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/wire"
)

// Poll returns the events that the request would get as a stream, at most limit: at once if
// there are any, otherwise as soon as there are, or when wait is over. With Until it
// returns the events up to there, and does not wait.
func (s *Streamer) Poll(ctx context.Context, request Request, limit int, wait time.Duration) (Polled, error) {
	refused := s.countIn()
	defer s.countOut()
	if refused != nil {
		return Polled{}, refused
	}
	if request.Until != "" {
		return s.upTo(ctx, request, limit)
	}
	sub, w, err := s.Hub.Subscribe(ctx, request.Filter, request.Format, nil)
	if err != nil {
		return Polled{}, err
	}
	defer sub.Close()
	received, gap, err := s.resolveStart(ctx, request, w)
	if err != nil {
		return Polled{}, err
	}
	p := poll{request: request, filter: request.Filter, limit: limit, events: []json.RawMessage{}, from: received, erasures: s.Hub.Erasures()}
	// A gap that was found stays one, whatever is found later.
	revalidate := func(received position.Position) (position.Position, error) {
		received, found, err := s.validate(ctx, received, request.Filter, w)
		if found != nil && found.Reason != position.Trimmed {
			p.from = received // events in between are not in the answer
		}
		if gap == nil {
			gap = found
		}
		return received, err
	}
	over, stop := context.WithTimeout(context.WithoutCancel(ctx), wait)
	defer stop()
	for {
		if received, err = p.replay(ctx, s.Hub.Buffer, received, w); errors.Is(err, replay.ErrTrimmed) {
			if received, err = revalidate(received); err == nil {
				continue
			}
		}
		if err != nil {
			return Polled{}, err
		}
		behind := false
		if !p.full() {
			if since := &p.request.Filter.Since; !since.IsZero() {
				*since = time.Time{} // where it started, no more
				met := received
				p.live = &met
			}
			joined := newJoin(received, w)
			waitFor := over.Done()
			if gap != nil || len(p.events) > 0 {
				waitFor = nil
			}
			behind = p.follow(ctx, sub, &joined, waitFor, s.draining)
			received = joined.at
		}
		if p.stale(s.Hub) {
			p.restart(s.Hub)
			received = p.from
		} else if !behind || len(p.events) > 0 {
			break
		}
		var restarted bool
		if w, restarted = sub.Rejoin(); restarted {
			if received, err = revalidate(received); err != nil {
				return Polled{}, err
			}
		}
	}
	if ctx.Err() != nil {
		return Polled{}, context.Cause(ctx)
	}
	if p.noRoom && len(p.events) == 0 {
		return Polled{}, ErrNoRoom
	}
	s.counts.polls.Add(1)
	if gap != nil {
		s.counts.gap(gap.Reason)
	}
	polled := Polled{Events: p.events, Position: s.Hub.Keys.Seal(received), Gap: wire.NewGap(gap)}
	if request.Record != nil && len(p.events) > 0 {
		polled.sending = func() func(bool) { return p.record(received) }
	}
	return polled, nil
}

// poll is one poll while it is answered.
type poll struct {
	request Request
	// filter is the request's.
	filter outbox.Filter
	limit  int
	events []json.RawMessage
	size   int
	last   int64
	// noRoom is set when an event was left out for which Reserve had no room.
	noRoom bool
	// from is where the poll began, and live where its replay ended and live events begin,
	// if it began with a time.
	from position.Position
	live *position.Position
	// erasures is the replay buffer's count from before the first of the events was read.
	erasures int64
}

// stale reports whether some of the events may have been erased since they were read.
func (p *poll) stale(h *hub.Hub) bool {
	return len(p.events) > 0 && h.Erasures() != p.erasures
}

// restart begins again at from. The answer is a small one then, so that it is soon read and
// sent, however many erasures there are.
func (p *poll) restart(h *hub.Hub) {
	p.erasures = h.Erasures()
	p.events, p.size, p.noRoom = p.events[:0], 0, false
	p.limit = min(p.limit, smallPage)
	p.request.Filter, p.live = p.filter, nil
}

// record is the audit's of the whole poll: a stream that ends when the answer was sent.
func (p *poll) record(to position.Position) (sent func(whole bool)) {
	record := p.request.Record(p.from, p.filter)
	if p.live != nil {
		record.Live(*p.live)
	}
	return Sending(record, to, len(p.events), p.last)
}

// Sending notes that an answer with events is about to be sent, for its record, and returns
// the function to call when it was, whole or not.
func Sending(record *audit.StreamRecord, to position.Position, events int, last int64) (sent func(whole bool)) {
	record.Perhaps(to, events, last)
	return func(whole bool) {
		if !whole {
			record.Closed("lost")
			return
		}
		record.Sent()
		record.Closed("polled")
	}
}

// A poll's answer holds about this many bytes at most.
const pollBytes = 4 << 20

func (p *poll) full() bool {
	return len(p.events) >= p.limit || p.size >= pollBytes || p.noRoom
}

// add reports whether there was room for the event.
func (p *poll) add(e *outbox.Event) bool {
	if p.noRoom = p.request.Reserve != nil && !p.request.Reserve(wire.Footprint(e)); p.noRoom {
		return false
	}
	data := wire.AppendEventWithin(nil, e, p.request.Format, p.request.MaxData)
	p.events = append(p.events, data)
	p.size += len(data)
	p.last = e.ID
	return true
}

// replay adds the events of w that the reader lacks, and returns the position after them.
func (p *poll) replay(ctx context.Context, buffer *hub.Buffer, received, w position.Position) (position.Position, error) {
	for _, stretch := range replay.Ranges(received, w) {
		for done := false; !done; {
			page, err := buffer.Replay(ctx, stretch, p.request.Filter, p.limit-len(p.events), 0)
			if err != nil {
				return received, err
			}
			for i := range page.Events {
				id := page.Events[i].ID
				if !p.add(&page.Events[i]) {
					return received, nil
				}
				received = stretch.At(wire.ResumeID(id, i+1 < len(page.Events) && page.Events[i+1].ID == id))
			}
			stretch.Advance(page)
			done = page.Done
			if done {
				received = stretch.To
			} else if p.full() {
				return received, nil
			}
		}
		if p.full() {
			return received, nil
		}
	}
	return received, nil
}

// follow adds the frames that the hub queues. It waits for the first until over, or not at
// all if over is nil. It reports whether the subscription is behind.
func (p *poll) follow(ctx context.Context, sub *hub.Subscription, joined *join, over, draining <-chan struct{}) (isBehind bool) {
	for {
		frames, state, more := sub.Take(nil)
		for _, f := range frames {
			if p.full() {
				return false
			}
			before := *joined
			if joined.admit(f) && !p.add(f.Event) {
				*joined = before
				return false
			}
		}
		switch {
		case state == hub.Behind:
			return true
		case more:
			continue
		}
		if len(p.events) > 0 || over == nil {
			break
		}
		select {
		case <-sub.Wake():
		case <-over:
			over = nil
		case <-draining:
			over = nil
		case <-ctx.Done():
			return false
		}
	}
	if w, idle := sub.Idle(); idle {
		joined.idle(w)
	}
	return false
}
