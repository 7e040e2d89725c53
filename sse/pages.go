package sse

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/sse/wire"
)

// pages reads the pages of one replay, in their order. Their memory is bounded whatever the
// readers do. A page from memory is no more than is written at once, and is released before the write,
// so that a slow reader can't pin memory that the replay buffer has evicted. A page from the
// table is small, except for a few replays at a time whose readers have shown that they keep
// up. Those get large pages, the next of which is read while the last is written.
type pages struct {
	*stream
	// leaveLarge, when not nil, gives up this replay's place among the few with large pages.
	leaveLarge func()
	// prefetched, when not nil, receives the next page, which is being read.
	prefetched chan page
	// handedOut is when the last page was handed out.
	handedOut time.Time
	// small is how many events a small page may have, estimated from their size so far; 0
	// when nothing is known.
	small int
	// frames is room for a page from memory.
	frames []*wire.Frame
	// reads are the reads of prefetched pages.
	reads sync.WaitGroup
}

// page is a part of a stretch: frames from memory, or events from the table.
type page struct {
	frames []*wire.Frame
	table  replay.Page
	after  int64
	done   bool
	// erasures is the replay buffer's count from before the page was read.
	erasures int64
	err      error
}

// len returns how many events the page has.
func (p *page) len() int { return len(p.frames) + len(p.table.Events) } // of the one or the other

// event returns the i-th event.
func (p *page) event(i int) *outbox.Event {
	if len(p.frames) > 0 {
		return p.frames[i].Event
	}
	return &p.table.Events[i]
}

// tied reports whether the i-th event and the next one have the same id.
func (p *page) tied(i int) bool {
	return i >= 0 && i+1 < p.len() && p.event(i).ID == p.event(i+1).ID
}

const (
	// A small page is about the size of a socket's buffers, in events and bytes, since it
	// is held for as long as its reader takes nothing.
	smallPage, smallBytes = 64, 64 << 10
	// A large one is worth a query. Its bytes are bounded by the table's reader.
	largePage = 2000
	// A reader keeps up if it takes a page within this time.
	promptly = 250 * time.Millisecond
)

// next returns the page of stretch that follows the last one.
func (p *pages) next(ctx context.Context, stretch replay.Range) (next page, err error) {
	limit := p.limit(ctx)
	size := func(f *wire.Frame) int { return f.Size(p.request.Format) }
	erasures := p.Hub.Erasures()
	if read, ok := p.Hub.Buffer.Page(p.frames, stretch, p.request.Filter, largePage, p.unused(), size); ok {
		p.prefetched = nil // the prefetched page is in the replay buffer by now
		p.frames = read.Frames
		return page{frames: read.Frames, after: read.After, done: read.Done, erasures: erasures}, nil
	}
	err = p.persist(ctx, "replay", func(ctx context.Context) error {
		if p.prefetched == nil {
			next = p.read(ctx, stretch, limit)
		} else {
			select {
			case next = <-p.prefetched:
				p.prefetched = nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if errors.Is(next.err, replay.ErrTrimmed) {
			return nil // to try again would not help
		}
		return next.err
	})
	p.learn(next.table.Events)
	if p.handedOut = time.Now(); err == nil && next.err == nil && p.leaveLarge != nil && !next.done {
		stretch.Advance(next.table)
		p.prefetched = make(chan page, 1)
		prefetched := p.prefetched
		p.reads.Go(func() { prefetched <- p.read(ctx, stretch, largePage) })
	}
	return next, cmp.Or(err, next.err)
}

// limit returns how many events the next page may have.
func (p *pages) limit(ctx context.Context) int {
	prompt := !p.handedOut.IsZero() && time.Since(p.handedOut) < promptly
	switch {
	case p.leaveLarge != nil && !prompt:
		p.giveUpLarge()
	case p.leaveLarge == nil && prompt:
		p.leaveLarge, _ = p.Hub.Buffer.TryLarge(ctx)
	}
	if p.leaveLarge != nil {
		return largePage
	}
	return cmp.Or(p.small, smallPage)
}

// learn finds how many events like these make a small page.
func (p *pages) learn(events []outbox.Event) {
	if len(events) == 0 {
		return
	}
	bytes := 1
	for i := range events {
		bytes += len(events[i].Payload)
	}
	p.small = max(1, min(smallPage, len(events)*smallBytes/bytes))
}

func (p *pages) read(ctx context.Context, stretch replay.Range, limit int) page {
	bytes := smallBytes
	if limit == largePage {
		bytes = 0
	}
	read, erasures, err := p.Hub.Buffer.ReplayTable(ctx, stretch, p.request.Filter, limit, bytes)
	return page{table: read, after: read.After, done: read.Done, erasures: erasures, err: err}
}

// stale reports whether events were erased since a page was read: the rest of it must not
// be sent. The next page is small then, so that it is soon read and sent, however many
// erasures there are.
func (p *pages) stale(page *page) bool {
	if p.Hub.Erasures() == page.erasures {
		return false
	}
	p.restart()
	return true
}

// restart makes the next page a small one, and drops the prefetched one.
func (p *pages) restart() {
	p.giveUpLarge()
	p.prefetched, p.handedOut = nil, time.Time{}
}

// close waits for the reads of prefetched pages. It is called after the last page, when they
// were cancelled.
func (p *pages) close() {
	p.giveUpLarge()
	p.reads.Wait()
}

// giveUpLarge leaves the place among the few with large pages to another replay.
func (p *pages) giveUpLarge() {
	if p.leaveLarge != nil {
		p.leaveLarge()
		p.leaveLarge = nil
	}
}
