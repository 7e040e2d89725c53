package sse

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"sync"

	"github.com/outcrier/outcrier/outbox"
)

// Ring keeps the newest events in memory and answers from them what it can, so
// that a thousand streams that were dropped together don't read the same rows a
// thousand times. What it can't answer it leaves to the table.
//
// What it holds is exact: everything that its end holds and its base does not,
// late commits included, because it is filled by the reads of the tail and
// emptied by whole reads.
type Ring struct {
	// Past is the table.
	Past
	// Bytes is about how much the events may hold in memory. DefaultRingBytes
	// by default; the newest read stays whatever its size.
	Bytes int

	mu sync.RWMutex
	// base is the position before the oldest read held, end the one after the
	// newest. While a read comes in parts, end is the one before it.
	base, end outbox.Position
	reads     []heldRead
	part      heldRead
	bytes     int
}

// DefaultRingBytes holds some 100,000 small events.
const DefaultRingBytes = 64 << 20

// heldRead is a read that had events, ordered by id.
type heldRead struct {
	to     outbox.Position
	events []outbox.Event
	bytes  int
}

// Start empties the ring. It comes before the hub's.
func (r *Ring) Start(p outbox.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.base, r.end = p, p
	r.reads, r.part, r.bytes = nil, heldRead{}, 0
}

// Deliver takes a part of a read. It comes before the hub's, so that the hub's
// position is never beyond the ring's end, but in the middle of a read.
func (r *Ring) Deliver(read outbox.Read) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if read.First {
		r.part = heldRead{to: read.To}
	}
	for i := range read.Events {
		r.part.bytes += eventBytes(&read.Events[i])
	}
	r.part.events = append(r.part.events, read.Events...)
	if !read.Last {
		return
	}
	r.end = read.To
	if len(r.part.events) > 0 {
		r.reads = append(r.reads, r.part)
		r.bytes += r.part.bytes
	}
	r.part = heldRead{}
	limit := r.Bytes
	if limit == 0 {
		limit = DefaultRingBytes
	}
	drop := 0
	for ; r.bytes > limit && drop < len(r.reads)-1; drop++ {
		r.bytes -= r.reads[drop].bytes
		r.base = r.reads[drop].to
	}
	r.reads = slices.Delete(r.reads, 0, drop)
	if len(r.reads) == 0 {
		r.base = r.end // nothing lies between
	}
}

// eventBytes is about what an event holds in memory.
func eventBytes(e *outbox.Event) int {
	return len(e.Topic) + len(e.Type) + len(e.Source) + len(e.Payload) + 200
}

// Verify judges a position. One whose missing events are all in the ring, and
// whose anchor is an event that the ring knows, can go on whole.
func (r *Ring) Verify(ctx context.Context, p outbox.Position) (outbox.Position, *outbox.Gap, error) {
	if end, ok := r.knows(p); ok {
		p.Trim = end.Trim
		return p, nil, nil
	}
	return r.Past.Verify(ctx, p)
}

func (r *Ring) knows(p outbox.Position) (end outbox.Position, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	claimed := p.Given
	if p.Within != nil {
		claimed = claimed.Union(*p.Within)
	}
	if p.History != r.end.History || !p.Given.Covers(r.base.Given) || !r.end.Given.Covers(claimed) {
		return r.end, false
	}
	if p.Anchor == r.base.Anchor || p.Anchor == r.end.Anchor {
		return r.end, true
	}
	return r.end, slices.ContainsFunc(r.reads, func(held heldRead) bool { return held.to.Anchor == p.Anchor })
}

// Replay reads a page of a leg that lies within the ring from memory.
func (r *Ring) Replay(ctx context.Context, leg outbox.Leg, filter outbox.Filter, limit int) (outbox.Page, error) {
	if page, ok := r.page(leg, filter, limit); ok {
		return page, nil
	}
	return r.Past.Replay(ctx, leg, filter, limit)
}

func (r *Ring) page(leg outbox.Leg, filter outbox.Filter, limit int) (outbox.Page, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	from, to := leg.From.Given, leg.To.Given
	if leg.From.History != r.end.History || !from.Covers(r.base.Given) || !r.end.Given.Covers(to) {
		return outbox.Page{}, false
	}
	page := outbox.Page{After: leg.After, Done: true}
	first := sort.Search(len(r.reads), func(i int) bool { return !from.Covers(r.reads[i].to.Given) })
	for _, held := range r.reads[first:] {
		for _, e := range held.events {
			if e.ID > leg.After && to.Has(e.XID) && !from.Has(e.XID) &&
				!e.CreatedAt.Before(filter.Since) && filter.Match(e.Topic, e.Type) {
				page.Events = append(page.Events, e)
			}
		}
	}
	slices.SortStableFunc(page.Events, func(a, b outbox.Event) int { return cmp.Compare(a.ID, b.ID) })
	if len(page.Events) > limit {
		page.Events, page.Done = page.Events[:limit], false
	}
	if n := len(page.Events); n > 0 {
		page.After = page.Events[n-1].ID
	}
	return page, true
}
