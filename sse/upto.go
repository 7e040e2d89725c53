package sse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/sse/wire"
)

// upTo returns, page by page, the events of the position Until that the reader lacks. The
// last page has that position, as it was written. So a client can catch up to exactly the
// position of another client: both ends are sets, the same at any node and at any time,
// whatever this node has read.
func (s *Streamer) upTo(ctx context.Context, request Request, limit int) (Polled, error) {
	for {
		erasures := s.Hub.Erasures()
		polled, err := s.readUpTo(ctx, request, limit)
		if err != nil || len(polled.Events) == 0 || s.Hub.Erasures() == erasures {
			return polled, err
		}
		limit = min(limit, smallPage) // events were erased meanwhile
	}
}

func (s *Streamer) readUpTo(ctx context.Context, request Request, limit int) (Polled, error) {
	until, err := s.Hub.Keys.Open(request.Until)
	if err != nil {
		return Polled{}, fmt.Errorf("until: %w", err)
	}
	_, gap, err := s.Hub.Buffer.Verify(ctx, until, request.Filter, position.Position{})
	if err != nil {
		return Polled{}, err
	}
	if gap != nil && gap.Reason != position.Trimmed {
		return Polled{Events: []json.RawMessage{}, Position: request.Until, Gap: wire.NewGap(gap)}, nil
	}
	received, gap, err := s.resolveStart(ctx, request, until)
	if err != nil {
		return Polled{}, err
	}
	p := newPoll(s, request, limit, received, gap)
	// All of the read that it is in the middle of, if it is.
	whole := until
	if until.Within != nil {
		whole.Given, whole.Within = until.Given.Union(*until.Within), nil
	}
	ranges := replay.Ranges(received, whole)
	for len(ranges) > 0 && !p.full() {
		next := ranges[0]
		page, err := s.Hub.Buffer.Replay(ctx, next, request.Filter, p.limit-len(p.events), 0)
		if errors.Is(err, replay.ErrTrimmed) {
			if received, err = p.revalidate(ctx, received, until); err == nil {
				ranges = replay.Ranges(received, whole)
				continue
			}
		}
		if err != nil {
			return Polled{}, err
		}
		for i := range page.Events {
			e := &page.Events[i]
			if until.Has(e.XID, e.ID) && !p.add(e) {
				break
			}
			received = positionAfter(next, page.Events, i)
		}
		if p.noRoom {
			break
		}
		if ranges[0].Advance(page); page.Done {
			received, ranges = next.To, ranges[1:]
		}
	}
	if len(ranges) > 0 {
		return p.answer(s.Hub.Keys.Seal(received), received)
	}
	return p.answer(request.Until, until)
}
