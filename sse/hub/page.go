package hub

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"sort"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/sse/wire"
)

// block is the range of ids of some frames that follow each other, from serial on. Reads
// overlap in their ids where transactions did, and a page goes by ids: by the blocks it is
// found without a look at all that the replay buffer has.
type block struct{ serial, low, high int64 }

// A block has so many frames; the newest has fewer.
const blockFrames = 128

// index takes note of a frame that is held, the newest.
func (b *Buffer) index(f *wire.Frame) {
	id, n := f.Event.ID, len(b.blocks)
	if n == 0 || f.Serial-b.blocks[n-1].serial == blockFrames {
		b.blocks = append(b.blocks, block{f.Serial, id, id})
		return
	}
	newest := &b.blocks[n-1]
	newest.low, newest.high = min(newest.low, id), max(newest.high, id)
}

// unindex forgets the blocks of which nothing is held any more.
func (b *Buffer) unindex() {
	n, oldest := 0, b.oldest()
	for n+1 < len(b.blocks) && b.blocks[n+1].serial <= oldest {
		n++
	}
	b.blocks = b.blocks[n:] // append moves the rest, now and then
}

// frames are those from one serial up to another one.
func (b *Buffer) frames(from, to int64) iter.Seq[*wire.Frame] {
	return func(yield func(*wire.Frame) bool) {
		i := sort.Search(len(b.reads), func(i int) bool {
			frames := b.reads[i].frames
			return frames[len(frames)-1].Serial >= from
		})
		for _, held := range b.reads[i:] {
			for _, f := range held.frames[max(0, from-held.frames[0].Serial):] {
				if f.Serial >= to || !yield(f) {
					return
				}
			}
		}
	}
}

// Page is a page of a stretch, as the frames that live streams share.
type Page struct {
	// Frames are ordered by id; those of one id are in one page, as in the table's.
	Frames []*wire.Frame
	// After is the id after which the next page begins.
	After int64
	// Done is set when the stretch ends with this page.
	Done bool
}

// Page reads a page of a stretch into dst, if the stretch lies within the replay buffer: at most limit
// frames, and about so many bytes by size. It looks at about scanAtOnce frames, so
// that a page may have none though more follow.
func (b *Buffer) Page(dst []*wire.Frame, stretch replay.Range, filter outbox.Filter, limit, bytes int, size func(*wire.Frame) int) (page Page, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	from, to := stretch.From.Given, stretch.To.Given
	if stretch.From.History != b.end.History || !from.Covers(b.base.Given) || !b.end.Given.Covers(to) {
		return page, false
	}
	// All frames with ids up to top are in the page or don't belong to it, as far
	// as the blocks have been gone through.
	page = Page{Frames: dst[:0], After: stretch.After}
	top, scanned := int64(math.MaxInt64), 0
	first := sort.Search(len(b.reads), func(i int) bool { return !from.Covers(b.reads[i].To.Given) })
	oldest := b.serial + 1
	if first < len(b.reads) {
		oldest = b.reads[first].frames[0].Serial
	}
	for _, block := range b.blocks {
		if block.serial+blockFrames <= oldest || block.high <= stretch.After || block.low > top {
			continue
		}
		before := len(page.Frames)
		for f := range b.frames(max(block.serial, oldest), block.serial+blockFrames) {
			e := f.Event
			if e.ID <= stretch.After || e.ID > top {
				continue
			}
			scanned++
			page.After = max(page.After, e.ID)
			if to.Has(e.XID) && !from.Has(e.XID) && !e.CreatedAt.Before(filter.Since) && filter.Match(e.Topic, e.Type) {
				page.Frames = append(page.Frames, f)
			}
		}
		if n := len(page.Frames); n > before && page.cut(limit, bytes, size) {
			top = page.Frames[len(page.Frames)-1].Event.ID
		} else if scanned >= scanAtOnce {
			top = min(top, page.After)
		}
	}
	if page.Done = top == math.MaxInt64; !page.Done {
		page.After = top
	}
	b.memory.count(len(page.Frames))
	return page, true
}

// cut sorts the frames found, removes those beyond the limit, and reports whether the page
// is full. At least one stays, so that every page makes progress.
func (p *Page) cut(limit, bytes int, size func(*wire.Frame) int) (full bool) {
	slices.SortFunc(p.Frames, func(a, b *wire.Frame) int {
		return cmp.Or(cmp.Compare(a.Event.ID, b.Event.ID), cmp.Compare(a.Serial, b.Serial))
	})
	for n, f := range p.Frames {
		full = n >= limit || bytes <= 0
		if full && n > 0 && f.Event.ID != p.Frames[n-1].Event.ID {
			clear(p.Frames[n:])
			p.Frames = p.Frames[:n]
			return true
		}
		bytes -= size(f)
	}
	return len(p.Frames) >= limit || bytes <= 0
}

// scanAtOnce bounds how many frames are looked at in one go: the tail waits
// meanwhile.
const scanAtOnce = 4096

// recall appends to dst the next frames of a subscription that lags, about wire.WriteBytes of
// them. When the replay buffer does not hold them any more, the subscription is behind; when it
// has reached the newest, it no longer lags, and later frames are queued.
func (b *Buffer) recall(s *Subscription, dst []*wire.Frame) ([]*wire.Frame, State) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != Lagging { // the tail was restarted
		return dst, s.state
	}
	if s.next < b.oldest() {
		s.state = Behind
		b.behind.Add(1)
		return dst, Behind
	}
	bytes, scanned := 0, 0
	for f := range b.frames(s.next, math.MaxInt64) {
		if scanned == scanAtOnce || bytes >= wire.WriteBytes {
			return dst, Lagging
		}
		scanned++
		s.next = f.Serial + 1
		if s.from <= f.Read.Number && s.filter.Match(f.Event.Topic, f.Event.Type) {
			dst = append(dst, f)
			bytes += f.Size(s.format)
		}
	}
	s.state, s.last = Current, b.serial
	return dst, Current
}
