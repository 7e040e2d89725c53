package sse

import (
	"context"
	"math"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
)

// lastOf returns the position of a reader that has received all events of w except the
// newest n of the filter's, by id.
//
// It looks back from the newest id, further each time: a page that fills a list needs a
// few events of a busy topic, or all of one that is quiet, which the table finds by the
// topic at whatever distance.
func (s *Streamer) lastOf(ctx context.Context, filter outbox.Filter, n int, w position.Position) (position.Position, error) {
	earliest, err := s.Hub.Buffer.Earliest(ctx, w)
	if err != nil {
		return w, err
	}
	for back := int64(4 * n); ; back = 16 * min(back, math.MaxInt64/16) {
		stretch := replay.Range{From: earliest, To: earliest.Join(w)}
		if back < w.EventID {
			stretch.After = w.EventID - back
		}
		ids, err := s.newest(ctx, stretch, filter, n+1)
		switch {
		case err != nil:
			return w, err
		case len(ids) > n:
			return stretch.At(ids[0]), nil
		case stretch.After == 0:
			return earliest, nil
		}
	}
}

// newest returns the ids of the newest n events of a stretch that the filter selects, ascending.
func (s *Streamer) newest(ctx context.Context, stretch replay.Range, filter outbox.Filter, n int) (ids []int64, err error) {
	for {
		page, err := s.Hub.Buffer.Replay(ctx, stretch, filter, largePage, 0)
		if err != nil {
			return nil, err
		}
		for i := range page.Events {
			ids = append(ids, page.Events[i].ID)
		}
		ids = ids[max(0, len(ids)-n):]
		page.Free()
		if stretch.Advance(page); page.Done {
			return ids, nil
		}
	}
}
