package sse

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"sort"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/wire"
)

// block tells between what ids some frames are that follow each other, from serial
// on. Reads overlap in their ids where transactions did, and a page goes by ids: by
// the blocks it is found without a look at all that the replay buffer has.
type block struct{ serial, low, high int64 }

// A block has so many frames; the newest has fewer.
const blockFrames = 128

// index takes note of a frame that is held, the newest.
func (r *Buffer) index(f *wire.Frame) {
	id, n := f.Event.ID, len(r.blocks)
	if n == 0 || f.Serial-r.blocks[n-1].serial == blockFrames {
		r.blocks = append(r.blocks, block{f.Serial, id, id})
		return
	}
	b := &r.blocks[n-1]
	b.low, b.high = min(b.low, id), max(b.high, id)
}

// unindex forgets the blocks of which nothing is held any more.
func (r *Buffer) unindex() {
	n, oldest := 0, r.oldest()
	for n+1 < len(r.blocks) && r.blocks[n+1].serial <= oldest {
		n++
	}
	r.blocks = r.blocks[n:] // append moves the rest, now and then
}

// frames are those from one serial up to another one.
func (r *Buffer) frames(from, to int64) iter.Seq[*wire.Frame] {
	return func(yield func(*wire.Frame) bool) {
		i := sort.Search(len(r.reads), func(i int) bool {
			frames := r.reads[i].frames
			return frames[len(frames)-1].Serial >= from
		})
		for _, held := range r.reads[i:] {
			for _, f := range held.frames[max(0, from-held.frames[0].Serial):] {
				if f.Serial >= to || !yield(f) {
					return
				}
			}
		}
	}
}

// bufferPage is a page of a leg.
type bufferPage struct {
	// frames are ordered by id; those of one id are in one page, as in the table's.
	frames []*wire.Frame
	// after is the id after which the next page begins.
	after int64
	// done is set when the leg ends with this page.
	done bool
}

// page reads a page of a leg into dst, if the leg lies within the replay buffer: at most limit
// frames, and about so many bytes by size. It looks at about recallScan frames, so
// that a page may have none though more follow.
func (r *Buffer) page(dst []*wire.Frame, leg outbox.Range, filter outbox.Filter, limit, bytes int, size func(*wire.Frame) int) (page bufferPage, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	from, to := leg.From.Given, leg.To.Given
	if leg.From.History != r.end.History || !from.Covers(r.base.Given) || !r.end.Given.Covers(to) {
		return page, false
	}
	// All frames with ids up to top are in the page or don't belong to it, as far
	// as the blocks have been gone through.
	page = bufferPage{frames: dst[:0], after: leg.After}
	top, scanned := int64(math.MaxInt64), 0
	first := sort.Search(len(r.reads), func(i int) bool { return !from.Covers(r.reads[i].To.Given) })
	oldest := r.serial + 1
	if first < len(r.reads) {
		oldest = r.reads[first].frames[0].Serial
	}
	for _, b := range r.blocks {
		if b.serial+blockFrames <= oldest || b.high <= leg.After || b.low > top {
			continue
		}
		before := len(page.frames)
		for f := range r.frames(max(b.serial, oldest), b.serial+blockFrames) {
			e := f.Event
			if e.ID <= leg.After || e.ID > top {
				continue
			}
			scanned++
			page.after = max(page.after, e.ID)
			if to.Has(e.XID) && !from.Has(e.XID) && !e.CreatedAt.Before(filter.Since) && filter.Match(e.Topic, e.Type) {
				page.frames = append(page.frames, f)
			}
		}
		if n := len(page.frames); n > before && page.cut(limit, bytes, size) {
			top = page.frames[len(page.frames)-1].Event.ID
		} else if scanned >= recallScan {
			top = min(top, page.after)
		}
	}
	if page.done = top == math.MaxInt64; !page.done {
		page.after = top
	}
	return page, true
}

// cut sorts the frames found, removes those beyond the limit, and reports whether the page
// is full. At least one stays, so that every page makes progress.
func (p *bufferPage) cut(limit, bytes int, size func(*wire.Frame) int) (full bool) {
	slices.SortFunc(p.frames, func(a, b *wire.Frame) int {
		return cmp.Or(cmp.Compare(a.Event.ID, b.Event.ID), cmp.Compare(a.Serial, b.Serial))
	})
	for n, f := range p.frames {
		full = n >= limit || bytes <= 0
		if full && n > 0 && f.Event.ID != p.frames[n-1].Event.ID {
			clear(p.frames[n:])
			p.frames = p.frames[:n]
			return true
		}
		bytes -= size(f)
	}
	return len(p.frames) >= limit || bytes <= 0
}

// recallScan bounds how many frames are looked at in one go: the tail waits
// meanwhile.
const recallScan = 4096

// recall appends to dst the next frames of a subscription that lags, about writeBytes of
// them. When the replay buffer does not hold them any more, the subscription is behind; when it has
// reached the newest, it no longer lags, and later frames are queued.
func (r *Buffer) recall(s *Subscription, dst []*wire.Frame) ([]*wire.Frame, queueState) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != lagging { // the tail was restarted
		return dst, s.state
	}
	if s.next < r.oldest() {
		s.state = behind
		r.behind.Add(1)
		return dst, behind
	}
	bytes, scanned := 0, 0
	for f := range r.frames(s.next, math.MaxInt64) {
		if scanned == recallScan || bytes >= wire.WriteBytes {
			return dst, lagging
		}
		scanned++
		s.next = f.Serial + 1
		if s.from <= f.Read.Number && s.filter.Match(f.Event.Topic, f.Event.Type) {
			dst = append(dst, f)
			bytes += f.Size(s.format)
		}
	}
	s.state, s.last = current, r.serial
	return dst, current
}
