package sse

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// Ring keeps the newest events in memory, as frames, and answers from them what
// it can, so that a thousand streams that were dropped together don't read the
// same rows a thousand times, and one that was slow for a moment reads none. What
// it can't answer it leaves to the table.
//
// What it holds is exact: everything that its end holds and its base does not,
// late commits included, because it is filled by the reads of the tail and
// emptied by whole reads.
type Ring struct {
	// Past is the table.
	Past
	// Bytes is about how much the events may hold in memory: DefaultRingBytes
	// by default, nothing below 0. A read larger than that is not held.
	Bytes int
	// Replays is how many pages may be read from the table at a time, 4 by
	// default: those who come back from afar leave connections and processors
	// to what is live.
	Replays int

	// slots has a token for each page that is being read, lanes for each replay
	// with large pages.
	slots, lanes chan struct{}

	// memory and table count the pages of replays that were answered by the one and
	// the other, and behind the subscriptions that the ring could not answer any more.
	memory, table source
	behind        atomic.Int64

	mu sync.RWMutex
	// base is the position before the oldest read held, end the one after the
	// newest. While a read comes in parts, end is the one before it.
	base, end outbox.Position
	// reads are those held, the oldest first; the newest may not be whole yet.
	reads []heldRead
	bytes int
	// tooLarge is set for the rest of a read that is not held.
	tooLarge bool
	// serial is that of the newest frame, held or not.
	serial int64
}

// DefaultRingBytes holds some 70,000 small events.
const DefaultRingBytes = 64 << 20

// reading is a read of the tail without its events, one for all its parts.
type reading struct {
	From, To outbox.Position
	number   int64
	// at is when it was handed to the hub.
	at time.Time
}

// heldRead is a read that has events, ordered by id.
type heldRead struct {
	*reading
	frames []*Frame
	bytes  int
}

// start empties the ring.
func (r *Ring) start(p outbox.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.base, r.end = p, p
	r.reads, r.bytes = nil, 0
}

// deliver takes a part of a read, and returns its frames. It comes before the
// hub's queues, so that what is queued can also be recalled.
func (r *Ring) deliver(part outbox.Read, read *reading) []Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	frames := make([]Frame, len(part.Events))
	if part.First {
		r.reads, r.tooLarge = append(r.reads, heldRead{reading: read}), false
	}
	for i := range frames {
		f := &frames[i]
		r.serial++
		f.Event, f.read, f.serial = &part.Events[i], read, r.serial
		f.ends = part.Last && i == len(frames)-1
		if !r.tooLarge {
			held := &r.reads[len(r.reads)-1]
			held.frames = append(held.frames, f)
			held.bytes += frameBytes(f.Event)
			r.tooLarge = held.bytes > r.limit()
		}
	}
	switch {
	case r.tooLarge:
		r.reads, r.bytes = nil, 0
	case part.Last:
		held := r.reads[len(r.reads)-1]
		if len(held.frames) == 0 {
			r.reads = r.reads[:len(r.reads)-1]
		}
		r.bytes += held.bytes
		r.drop()
	}
	if part.Last {
		r.end = part.To
	}
	if len(r.reads) == 0 {
		r.base = r.end // nothing lies between
	}
	return frames
}

func (r *Ring) limit() int {
	if r.Bytes == 0 {
		return DefaultRingBytes
	}
	return max(0, r.Bytes)
}

// drop lets go of the oldest reads while the ring holds too much.
func (r *Ring) drop() {
	n := 0
	for ; r.bytes > r.limit(); n++ {
		r.bytes -= r.reads[n].bytes
		r.base = r.reads[n].To
	}
	clear(r.reads[:n])
	r.reads = r.reads[n:] // append moves what is left, now and then
}

// oldest is the serial of the oldest frame held, or else that of the next.
func (r *Ring) oldest() int64 {
	if len(r.reads) == 0 || len(r.reads[0].frames) == 0 {
		return r.serial + 1
	}
	return r.reads[0].frames[0].serial
}

// holds tells whether a queued frame would be in memory without the queue.
// Called by who delivers.
func (r *Ring) holds(f *Frame) bool { return r.Bytes < 0 || f.serial >= r.oldest() }

// frameBytes is about what an event and its frame hold in memory: the event as it
// is, and once more on the wire.
func frameBytes(e *outbox.Event) int {
	return 2*(len(e.Topic)+len(e.Type)+len(e.Source)+len(e.Payload)) + 500
}

// Verify judges a position. One whose missing events are all in the ring, and
// whose anchor is an event that the ring knows, can go on whole.
func (r *Ring) Verify(ctx context.Context, p outbox.Position, filter outbox.Filter) (outbox.Position, *outbox.Gap, error) {
	if end, ok := r.knows(p); ok {
		p.Trim = end.Trim
		return p, nil, nil
	}
	return r.Past.Verify(ctx, p, filter)
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
	// The anchors of reads rise: each is of the largest xid seen.
	i := sort.Search(len(r.reads), func(i int) bool { return r.reads[i].To.Anchor.XID >= p.Anchor.XID })
	return r.end, i < len(r.reads) && slices.ContainsFunc(r.reads[i:], func(held heldRead) bool {
		return held.To.Anchor == p.Anchor
	})
}

// Replay reads a page of a leg that lies within the ring from memory.
func (r *Ring) Replay(ctx context.Context, leg outbox.Leg, filter outbox.Filter, limit int) (outbox.Page, error) {
	frames, done, ok := r.page(leg, filter, limit)
	if !ok {
		return r.replayTable(ctx, leg, filter, limit)
	}
	r.memory.count(len(frames))
	page := outbox.Page{After: leg.After, Done: done}
	for _, f := range frames {
		page.Events, page.After = append(page.Events, *f.Event), f.Event.ID
	}
	return page, nil
}

// replayTable reads a page from the table, in its turn.
func (r *Ring) replayTable(ctx context.Context, leg outbox.Leg, filter outbox.Filter, limit int) (outbox.Page, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return outbox.Page{}, context.Cause(ctx)
	}
	page, err := r.Past.Replay(ctx, leg, filter, limit)
	if err == nil {
		r.table.count(len(page.Events))
	}
	return page, err
}

// page is a page of a leg as frames, ordered by id, if the leg lies within the
// ring.
func (r *Ring) page(leg outbox.Leg, filter outbox.Filter, limit int) (frames []*Frame, done, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	from, to := leg.From.Given, leg.To.Given
	if leg.From.History != r.end.History || !from.Covers(r.base.Given) || !r.end.Given.Covers(to) {
		return nil, false, false
	}
	first := sort.Search(len(r.reads), func(i int) bool { return !from.Covers(r.reads[i].To.Given) })
	for _, held := range r.reads[first:] {
		for _, f := range held.frames {
			e := f.Event
			if e.ID > leg.After && to.Has(e.XID) && !from.Has(e.XID) &&
				!e.CreatedAt.Before(filter.Since) && filter.Match(e.Topic, e.Type) {
				frames = append(frames, f)
			}
		}
	}
	slices.SortStableFunc(frames, func(a, b *Frame) int { return cmp.Compare(a.Event.ID, b.Event.ID) })
	if len(frames) > limit {
		for limit < len(frames) && frames[limit].Event.ID == frames[limit-1].Event.ID {
			limit++ // as the table's pages do
		}
		return frames[:limit], limit == len(frames), true
	}
	return frames, true, true
}

// recallScan bounds how many frames are looked at in one go: the tail waits
// meanwhile.
const recallScan = 4096

// recall appends to dst the next frames of a subscription that lags, about
// writeBytes of them. When the ring does not hold them any more, the subscription
// is behind; when it has come to the newest, it does not lag any more, and what
// is delivered from then on is queued.
func (r *Ring) recall(s *Subscription, dst []*Frame) ([]*Frame, queueState) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != lagging { // the tail has started anew
		return dst, s.state
	}
	if s.next < r.oldest() {
		s.state = behind
		r.behind.Add(1)
		return dst, behind
	}
	i := sort.Search(len(r.reads), func(i int) bool {
		frames := r.reads[i].frames
		return frames[len(frames)-1].serial >= s.next
	})
	bytes, scanned := 0, 0
	for _, held := range r.reads[i:] {
		for _, f := range held.frames[max(0, s.next-held.frames[0].serial):] {
			if scanned == recallScan || bytes >= writeBytes {
				return dst, lagging
			}
			scanned++
			s.next = f.serial + 1
			if s.from <= held.number && s.filter.Match(f.Event.Topic, f.Event.Type) {
				dst = append(dst, f)
				bytes += f.size(s.format)
			}
		}
	}
	s.state, s.last = current, r.serial
	return dst, current
}
