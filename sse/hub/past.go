package hub

import (
	"context"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/sse/wire"
)

// Past is what a replay needs of the table: replay.Reader. W is the hub's position.
type Past interface {
	Verify(ctx context.Context, p position.Position, filter outbox.Filter, w position.Position) (position.Position, *position.Gap, error)
	Earliest(ctx context.Context, w position.Position) (position.Position, error)
	Before(ctx context.Context, t time.Time, w position.Position) (position.Position, error)
	Oldest(ctx context.Context) (time.Time, error)
	Replay(ctx context.Context, stretch replay.Range, filter outbox.Filter, limit, bytes int) (replay.Page, error)
}

// Verify validates a position against w, the hub's: without a query, if the replay buffer has
// all that its reader lacks.
func (r *Buffer) Verify(ctx context.Context, p position.Position, filter outbox.Filter, w position.Position) (position.Position, *position.Gap, error) {
	if resumed, ok := r.Resumes(p, w); ok {
		return resumed, nil, nil
	}
	leave, err := r.starts.Enter(ctx)
	if err != nil {
		return p, nil, err
	}
	defer leave()
	return r.Past.Verify(ctx, p, filter, w)
}

// Earliest is the table's, in its turn.
func (r *Buffer) Earliest(ctx context.Context, w position.Position) (position.Position, error) {
	leave, err := r.starts.Enter(ctx)
	if err != nil {
		return position.Position{}, err
	}
	defer leave()
	return r.Past.Earliest(ctx, w)
}

// Before is the table's, in its turn.
func (r *Buffer) Before(ctx context.Context, t time.Time, w position.Position) (position.Position, error) {
	leave, err := r.starts.Enter(ctx)
	if err != nil {
		return position.Position{}, err
	}
	defer leave()
	return r.Past.Before(ctx, t, w)
}

// pageBytes is about what a page of Replay holds, as the table's do.
const pageBytes = 1 << 20

// Replay reads a page of a stretch, from memory if it lies within the replay buffer, else from the
// table.
func (r *Buffer) Replay(ctx context.Context, stretch replay.Range, filter outbox.Filter, limit, bytes int) (replay.Page, error) {
	if bytes <= 0 {
		bytes = pageBytes
	}
	read, ok := r.Page(nil, stretch, filter, limit, bytes, func(f *wire.Frame) int { return wire.Footprint(f.Event) })
	if !ok {
		page, _, err := r.ReplayTable(ctx, stretch, filter, limit, bytes)
		return page, err
	}
	page := replay.Page{After: read.After, Done: read.Done}
	for _, f := range read.Frames {
		page.Events = append(page.Events, *f.Event)
	}
	return page, nil
}

// ReplayTable reads a page from the table, in its turn. It returns the count of erasures
// from before.
func (r *Buffer) ReplayTable(ctx context.Context, stretch replay.Range, filter outbox.Filter, limit, bytes int) (page replay.Page, erasures int64, err error) {
	leave, err := r.slots.Enter(ctx)
	if err != nil {
		return page, 0, err
	}
	defer leave()
	erasures = r.erasures.Load()
	page, err = r.Past.Replay(ctx, stretch, filter, limit, bytes)
	if err == nil {
		r.table.count(len(page.Events))
	}
	return page, erasures, err
}

// TryLane takes one of the few places for a replay with large pages, if one is free for the
// principal of ctx. The caller must leave it.
func (r *Buffer) TryLane(ctx context.Context) (leave func(), ok bool) { return r.lanes.TryEnter(ctx) }
