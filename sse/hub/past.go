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
func (b *Buffer) Verify(ctx context.Context, p position.Position, filter outbox.Filter, w position.Position) (position.Position, *position.Gap, error) {
	if resumed, ok := b.Resumes(p, w); ok {
		return resumed, nil, nil
	}
	leave, err := b.starts.Enter(ctx)
	if err != nil {
		return p, nil, err
	}
	defer leave()
	return b.Past.Verify(ctx, p, filter, w)
}

// Earliest is Past.Earliest, when it is this principal's turn.
func (b *Buffer) Earliest(ctx context.Context, w position.Position) (position.Position, error) {
	leave, err := b.starts.Enter(ctx)
	if err != nil {
		return position.Position{}, err
	}
	defer leave()
	return b.Past.Earliest(ctx, w)
}

// Before is Past.Before, when it is this principal's turn.
func (b *Buffer) Before(ctx context.Context, t time.Time, w position.Position) (position.Position, error) {
	leave, err := b.starts.Enter(ctx)
	if err != nil {
		return position.Position{}, err
	}
	defer leave()
	return b.Past.Before(ctx, t, w)
}

// pageBytes is about what a page of Replay holds, as the table's do.
const pageBytes = 1 << 20

// Replay reads a page of a stretch, from memory if it lies within the replay buffer, else from the
// table.
func (b *Buffer) Replay(ctx context.Context, stretch replay.Range, filter outbox.Filter, limit, bytes int) (replay.Page, error) {
	if bytes <= 0 {
		bytes = pageBytes
	}
	found, ok := b.Page(nil, stretch, filter, limit, bytes, func(f *wire.Frame) int { return wire.Footprint(f.Event) })
	if !ok {
		page, _, err := b.ReplayTable(ctx, stretch, filter, limit, bytes)
		return page, err
	}
	page := replay.Page{After: found.After, Done: found.Done}
	for _, f := range found.Frames {
		page.Events = append(page.Events, *f.Event)
	}
	return page, nil
}

// ReplayTable reads a page from the table, when it is this principal's turn. It also returns
// the count of erasures from before the page was read.
func (b *Buffer) ReplayTable(ctx context.Context, stretch replay.Range, filter outbox.Filter, limit, bytes int) (page replay.Page, erasures int64, err error) {
	leave, err := b.pages.Enter(ctx)
	if err != nil {
		return page, 0, err
	}
	defer leave()
	erasures = b.erasures.Load()
	page, err = b.Past.Replay(ctx, stretch, filter, limit, bytes)
	if err == nil {
		b.table.count(len(page.Events))
	}
	return page, erasures, err
}

// TryLarge takes one of the few places for a replay with large pages, if one is free for the
// principal of ctx. The caller must leave it.
func (b *Buffer) TryLarge(ctx context.Context) (leave func(), ok bool) { return b.large.TryEnter(ctx) }
