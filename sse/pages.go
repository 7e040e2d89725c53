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
	// lane, when not nil, gives up this replay's place among the few.
	lane func()
	// ahead, when not nil, receives the next page.
	ahead chan page
	// handedOut is when the last page was handed out.
	handedOut time.Time
	// small is how many events a small page may have, estimated from their size so far; 0
	// when nothing is known.
	small int
	// frames is room for a page from memory.
	frames []*wire.Frame
	// reads are the pages that are being read ahead.
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
		p.ahead = nil // the page read ahead is in the replay buffer by now
		p.frames = read.Frames
		return page{frames: read.Frames, after: read.After, done: read.Done, erasures: erasures}, nil
	}
	err = p.persist(ctx, "replay", func(ctx context.Context) error {
		if p.ahead == nil {
			next = p.read(ctx, stretch, limit)
		} else {
			select {
			case next = <-p.ahead:
				p.ahead = nil
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
	if p.handedOut = time.Now(); err == nil && next.err == nil && p.lane != nil && !next.done {
		stretch.Advance(next.table)
		p.ahead = make(chan page, 1)
		ahead := p.ahead
		p.reads.Go(func() { ahead <- p.read(ctx, stretch, largePage) })
	}
	return next, cmp.Or(err, next.err)
}

// limit returns how many events the next page may have.
func (p *pages) limit(ctx context.Context) int {
	prompt := !p.handedOut.IsZero() && time.Since(p.handedOut) < promptly
	switch {
	case p.lane != nil && !prompt:
		p.slow()
	case p.lane == nil && prompt:
		p.lane, _ = p.Hub.Buffer.TryLarge(ctx)
	}
	if p.lane != nil {
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

// restart makes the next page a small one, and drops the one read ahead.
func (p *pages) restart() {
	p.slow()
	p.ahead, p.handedOut = nil, time.Time{}
}

// close waits for the reads ahead; it is called after the last page, when they were
// cancelled.
func (p *pages) close() {
	p.slow()
	p.reads.Wait()
}

// slow gives the place among the few to another replay.
func (p *pages) slow() {
	if p.lane != nil {
		p.lane()
		p.lane = nil
	}
}
