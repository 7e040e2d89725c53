package sse

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/outcrier/outcrier/outbox"
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
	p := newPoll(s, request, limit, received, gap)
	over, stop := context.WithTimeout(context.WithoutCancel(ctx), wait)
	defer stop()
	received, err = p.collect(ctx, sub, received, w, over.Done())
	switch {
	case err != nil:
		return Polled{}, err
	case ctx.Err() != nil:
		return Polled{}, context.Cause(ctx)
	}
	polled, err := p.answer(s.Hub.Keys.Seal(received), received)
	if err != nil {
		return Polled{}, err
	}
	s.counts.polls.Add(1)
	if p.gap != nil {
		s.counts.gap(p.gap.Reason)
	}
	return polled, nil
}

// poll is one poll while it is answered.
type poll struct {
	*Streamer
	request Request
	// filter is the request's. That of request loses Since when the poll is live.
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
	// gap is the first that was found: it stays one, whatever is found later.
	gap *position.Gap
	// erasures is the replay buffer's count from before the first of the events was read.
	erasures int64
}

func newPoll(s *Streamer, request Request, limit int, from position.Position, gap *position.Gap) *poll {
	return &poll{
		Streamer: s, request: request, filter: request.Filter, limit: limit, events: []json.RawMessage{},
		from: from, gap: gap, erasures: s.Hub.Erasures(),
	}
}

// collect adds the events of an answer: those of w that the reader lacks, and then, if the
// answer would be empty, those that the hub queues until over. It returns the position after
// them.
func (p *poll) collect(ctx context.Context, sub *hub.Subscription, received, w position.Position, over <-chan struct{}) (position.Position, error) {
	for {
		var err error
		if received, err = p.replay(ctx, received, w); errors.Is(err, replay.ErrTrimmed) {
			if received, err = p.revalidate(ctx, received, w); err == nil {
				continue
			}
		}
		if err != nil {
			return received, err
		}
		behind := false
		if !p.full() {
			if since := &p.request.Filter.Since; !since.IsZero() {
				*since = time.Time{} // where it started, no more
				met := received
				p.live = &met
			}
			joined := newJoin(received, w)
			behind = p.follow(ctx, sub, &joined, over)
			received = joined.at
		}
		if p.stale() {
			p.restart()
			received = p.from
		} else if !behind || len(p.events) > 0 {
			return received, nil
		}
		var restarted bool
		if w, restarted = sub.Rejoin(); restarted {
			if received, err = p.revalidate(ctx, received, w); err != nil {
				return received, err
			}
		}
	}
}

// revalidate validates the reader's position again, and returns where to go on.
func (p *poll) revalidate(ctx context.Context, received, w position.Position) (position.Position, error) {
	received, gap, err := p.validate(ctx, received, p.filter, w)
	if gap != nil && gap.Reason != position.Trimmed {
		p.from = received // events in between are not in the answer
	}
	if p.gap == nil {
		p.gap = gap
	}
	return received, err
}

// stale reports whether some of the events may have been erased since they were read.
func (p *poll) stale() bool {
	return len(p.events) > 0 && p.Hub.Erasures() != p.erasures
}

// restart begins again at from. The answer is a small one then, so that it is soon read and
// sent, however many erasures there are.
func (p *poll) restart() {
	p.erasures = p.Hub.Erasures()
	p.events, p.size, p.noRoom = p.events[:0], 0, false
	p.limit = min(p.limit, smallPage)
	p.request.Filter, p.live = p.filter, nil
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
func (p *poll) replay(ctx context.Context, received, w position.Position) (position.Position, error) {
	for _, stretch := range replay.Ranges(received, w) {
		for done := false; !done; {
			page, err := p.Hub.Buffer.Replay(ctx, stretch, p.request.Filter, p.limit-len(p.events), 0)
			if err != nil {
				return received, err
			}
			for i := range page.Events {
				if !p.add(&page.Events[i]) {
					return received, nil
				}
				received = positionAfter(stretch, page.Events, i)
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

// positionAfter returns the position of a reader that has received a page of a stretch up to
// the i-th of its events.
func positionAfter(stretch replay.Range, page []outbox.Event, i int) position.Position {
	tied := i+1 < len(page) && page[i+1].ID == page[i].ID
	return stretch.At(wire.ResumeID(page[i].ID, tied))
}

// follow adds the frames that the hub queues. It waits for the first until over, but not if
// there is a gap to report. It reports whether the subscription is behind.
func (p *poll) follow(ctx context.Context, sub *hub.Subscription, joined *join, over <-chan struct{}) (isBehind bool) {
	waits := p.gap == nil && len(p.events) == 0
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
		if len(p.events) > 0 || !waits {
			break
		}
		select {
		case <-sub.Wake():
		case <-over:
			waits = false
		case <-p.draining:
			waits = false
		case <-ctx.Done():
			return false
		}
	}
	if w, idle := sub.Idle(); idle {
		joined.idle(w)
	}
	return false
}
