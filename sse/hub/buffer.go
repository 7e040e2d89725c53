package hub

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/outcrier/outcrier/internal/fair"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/wire"
)

// Buffer is the replay buffer: it keeps the newest events in memory, as frames, so that a
// thousand streams that were dropped together don't read the same rows a thousand times,
// and one that was slow for a moment reads none. Older events are read from the table.
//
// Its content is exact: all events that its end has and its base has not, late commits
// included, because it is filled by the reads of the tail and evicts whole reads.
type Buffer struct {
	// Past is the table.
	Past Past
	// Bytes is about how much the events may hold in memory: DefaultBufferBytes
	// by default, nothing below 0. A read larger than that is not held.
	Bytes int
	// Replays is how many pages may be read from the table at a time, 4 by default, and
	// Starts how many positions may be looked up there, 2 by default: so replays of old
	// events can't starve live delivery of connections and processors. Principals take
	// turns, a page each; one alone does not get all places.
	Replays, Starts int

	// slots has a place for each page that is being read, lanes for each replay with large
	// pages, starts for each position that is looked up.
	slots, lanes, starts *fair.Queue

	// memory and table count the pages of replays read from each. The subscriptions whose
	// frames the replay buffer no longer had are counted in behind.
	memory, table source
	behind        atomic.Int64

	mu sync.RWMutex
	// base is the position before the oldest read held, end the one after the
	// newest. While a read comes in parts, end is the one before it.
	base, end position.Position
	// reads are those held, the oldest first; the newest may not be whole yet.
	reads []heldRead
	bytes int
	// blocks are those of the frames held, in the same order.
	blocks []block
	// tooLarge is set for the rest of a read that is not held.
	tooLarge bool
	// serial is that of the newest frame, held or not.
	serial int64

	// erasures counts how often the memory of events was emptied because some of them were
	// erased or changed. It is raised under mu, before the memory can be filled again, and
	// read without a lock: events that were read after it may be sent as long as it stays
	// the same.
	erasures atomic.Int64
}

// DefaultBufferBytes holds some 70,000 small events.
const DefaultBufferBytes = 64 << 20

// heldRead is a read that has events, ordered by id.
type heldRead struct {
	*wire.Read
	frames []*wire.Frame
	bytes  int
}

// start empties the replay buffer. The events of a tail that starts again may have been erased
// meanwhile.
func (r *Buffer) start(p position.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.base, r.end = p, p
	r.forget()
	r.erasures.Add(1)
}

// forget lets go of all reads.
func (r *Buffer) forget() { r.reads, r.bytes, r.blocks = nil, 0, nil }

// deliver adds a part of a read, and returns its frames; events on no topic, which no
// stream receives, have none. It is called before frames are queued, so that queued frames
// can also be recalled.
func (r *Buffer) deliver(part tail.Read, read *wire.Read) []wire.Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	if part.First {
		r.tooLarge = false
	}
	if part.Forget {
		r.erase(read)
	}
	events := part.Events
	if slices.ContainsFunc(events, onNoTopic) {
		events = slices.DeleteFunc(slices.Clone(events), onNoTopic)
	}
	frames := make([]wire.Frame, len(events))
	for i := range frames {
		f := &frames[i]
		r.serial++
		f.Event, f.Read, f.Serial = &events[i], read, r.serial
		f.Last = part.Last && i == len(frames)-1
		f.Tied = i+1 < len(frames) && events[i+1].ID == f.Event.ID
		if !r.tooLarge {
			if !r.hasPart(read) {
				r.reads = append(r.reads, heldRead{Read: read})
			}
			held := &r.reads[len(r.reads)-1]
			held.frames = append(held.frames, f)
			r.index(f)
			held.bytes += wire.Footprint(f.Event)
			r.tooLarge = held.bytes > r.limit()
		}
	}
	switch {
	case r.tooLarge:
		r.forget()
	case part.Last && r.hasPart(read):
		r.bytes += r.reads[len(r.reads)-1].bytes
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

func onNoTopic(e outbox.Event) bool { return e.Topic == "" }

// hasPart reports whether the newest read held is read, the present one.
func (r *Buffer) hasPart(read *wire.Read) bool {
	n := len(r.reads)
	return n > 0 && r.reads[n-1].Read == read
}

// erase lets go of all reads but the present one: its snapshot has seen the erasure, and
// those before may hold events as they were.
func (r *Buffer) erase(present *wire.Read) {
	r.erasures.Add(1)
	r.base = r.end // the position before the present read
	if !r.hasPart(present) {
		r.forget()
		return
	}
	r.reads, r.bytes = slices.Clone(r.reads[len(r.reads)-1:]), 0
	r.unindex()
}

func (r *Buffer) limit() int {
	if r.Bytes == 0 {
		return DefaultBufferBytes
	}
	return max(0, r.Bytes)
}

// drop lets go of the oldest reads while the replay buffer holds too much.
func (r *Buffer) drop() {
	n := 0
	for ; r.bytes > r.limit(); n++ {
		r.bytes -= r.reads[n].bytes
		r.base = r.reads[n].To
	}
	clear(r.reads[:n])
	r.reads = r.reads[n:] // append moves the rest, now and then
	r.unindex()
}

// oldest is the serial of the oldest frame held, or else that of the next.
func (r *Buffer) oldest() int64 {
	if len(r.reads) == 0 || len(r.reads[0].frames) == 0 {
		return r.serial + 1
	}
	return r.reads[0].frames[0].Serial
}

// holds reports whether a queued frame would be in memory without the queue.
// Under the hub's lock.
func (r *Buffer) holds(f *wire.Frame) bool { return r.Bytes < 0 || f.Serial >= r.oldest() }

// Resumes reports whether a reader can resume from p without a gap: all events that it misses
// are in the replay buffer, and its anchor is an event that the replay buffer knows. W, the
// hub's position that it joins, must be the replay buffer's too: the hub may have been
// restarted since. The zero value stands for no hub.
func (r *Buffer) Resumes(p, w position.Position) (position.Position, bool) {
	end, ok := r.knows(p)
	if ok && w.History != 0 {
		_, ok = r.knows(w)
	}
	p.Removal = end.Removal
	return p, ok
}

func (r *Buffer) knows(p position.Position) (end position.Position, ok bool) {
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
