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
	// Bytes is about how much the events may hold in memory: 64 MiB if zero, nothing below 0.
	// A read larger than that is not held.
	Bytes int
	// Replays is how many pages may be read from the table at a time, 4 by default, and
	// Starts how many positions may be looked up there, 2 by default: so replays of old
	// events can't starve live delivery of connections and processors. Principals take
	// turns, a page each; one alone does not get all places.
	Replays, Starts int

	// pages has a place for each page that is being read from the table, large for each replay
	// with large pages, starts for each position that is looked up.
	pages, large, starts *fair.Queue

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
	// blocks index the frames held by their ids, in the same order.
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

// defaultBufferBytes holds some 70,000 small events.
const defaultBufferBytes = 64 << 20

// heldRead is a read that has events, ordered by id.
type heldRead struct {
	*wire.Read
	frames []*wire.Frame
	bytes  int
}

// start empties the replay buffer. The events of a tail that starts again may have been erased
// meanwhile.
func (b *Buffer) start(p position.Position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.base, b.end = p, p
	b.forget()
	b.erasures.Add(1)
}

// forget lets go of all reads.
func (b *Buffer) forget() { b.reads, b.bytes, b.blocks = nil, 0, nil }

// deliver adds a part of a read, and returns its frames; events on no topic, which no
// stream receives, have none. It is called before frames are queued, so that queued frames
// can also be recalled.
func (b *Buffer) deliver(part tail.Read, read *wire.Read) []wire.Frame {
	b.mu.Lock()
	defer b.mu.Unlock()
	if part.First {
		b.tooLarge = false
	}
	if part.Forget {
		b.erase(read)
	}
	events := part.Events
	if slices.ContainsFunc(events, onNoTopic) {
		events = slices.DeleteFunc(slices.Clone(events), onNoTopic)
	}
	frames := make([]wire.Frame, len(events))
	for i := range frames {
		f := &frames[i]
		b.serial++
		f.Event, f.Read, f.Serial = &events[i], read, b.serial
		f.Last = part.Last && i == len(frames)-1
		f.Tied = i+1 < len(frames) && events[i+1].ID == f.Event.ID
		if !b.tooLarge {
			if !b.hasPart(read) {
				b.reads = append(b.reads, heldRead{Read: read})
			}
			held := &b.reads[len(b.reads)-1]
			held.frames = append(held.frames, f)
			b.index(f)
			held.bytes += wire.Footprint(f.Event)
			b.tooLarge = held.bytes > b.limit()
		}
	}
	switch {
	case b.tooLarge:
		b.forget()
	case part.Last && b.hasPart(read):
		b.bytes += b.reads[len(b.reads)-1].bytes
		b.drop()
	}
	if part.Last {
		b.end = part.To
	}
	if len(b.reads) == 0 {
		b.base = b.end // nothing lies between
	}
	return frames
}

func onNoTopic(e outbox.Event) bool { return e.Topic == "" }

// hasPart reports whether the newest read held is read, the present one.
func (b *Buffer) hasPart(read *wire.Read) bool {
	n := len(b.reads)
	return n > 0 && b.reads[n-1].Read == read
}

// erase lets go of all reads but the present one: its snapshot has seen the erasure, and
// those before may hold events as they were.
func (b *Buffer) erase(present *wire.Read) {
	b.erasures.Add(1)
	b.base = b.end // the position before the present read
	if !b.hasPart(present) {
		b.forget()
		return
	}
	b.reads, b.bytes = slices.Clone(b.reads[len(b.reads)-1:]), 0
	b.unindex()
}

func (b *Buffer) limit() int {
	if b.Bytes == 0 {
		return defaultBufferBytes
	}
	return max(0, b.Bytes)
}

// drop lets go of the oldest reads while the replay buffer holds too much.
func (b *Buffer) drop() {
	n := 0
	for ; b.bytes > b.limit(); n++ {
		b.bytes -= b.reads[n].bytes
		b.base = b.reads[n].To
	}
	clear(b.reads[:n])
	b.reads = b.reads[n:] // append moves the rest, now and then
	b.unindex()
}

// oldest is the serial of the oldest frame held, or else that of the next.
func (b *Buffer) oldest() int64 {
	if len(b.reads) == 0 || len(b.reads[0].frames) == 0 {
		return b.serial + 1
	}
	return b.reads[0].frames[0].Serial
}

// holds reports whether a queued frame would be in memory without the queue.
// Under the hub's lock.
func (b *Buffer) holds(f *wire.Frame) bool { return b.Bytes < 0 || f.Serial >= b.oldest() }

// Resumes reports whether a reader can resume from p without a gap: all events that it misses
// are in the replay buffer, and its anchor is an event that the replay buffer knows. W, the
// hub's position that it joins, must be the replay buffer's too: the hub may have been
// restarted since. The zero value stands for no hub.
func (b *Buffer) Resumes(p, w position.Position) (position.Position, bool) {
	end, ok := b.knows(p)
	if ok && w.History != 0 {
		_, ok = b.knows(w)
	}
	p.Removal = end.Removal
	return p, ok
}

func (b *Buffer) knows(p position.Position) (end position.Position, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	claimed := p.Given
	if p.Within != nil {
		claimed = claimed.Union(*p.Within)
	}
	if p.History != b.end.History || !p.Given.Covers(b.base.Given) || !b.end.Given.Covers(claimed) {
		return b.end, false
	}
	if p.Anchor == b.base.Anchor || p.Anchor == b.end.Anchor {
		return b.end, true
	}
	// The anchors of reads rise: each is of the largest xid seen.
	i := sort.Search(len(b.reads), func(i int) bool { return b.reads[i].To.Anchor.XID >= p.Anchor.XID })
	return b.end, i < len(b.reads) && slices.ContainsFunc(b.reads[i:], func(held heldRead) bool {
		return held.To.Anchor == p.Anchor
	})
}
