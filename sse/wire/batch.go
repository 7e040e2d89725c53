package wire

import (
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

// batches gathers the events of a stream that asks for them in batches: one SSE event a
// window, whose data is a JSON array, and whose id is the position after the last of them.
// Events that wait for their window wait in the hub, like those for any reader; only the
// batch that is being written is gathered here.
type batches struct {
	plain
	// named is set when the SSE event is to be outcrier.batch; else batches arrive
	// at onmessage.
	named bool
	// data is the field data, without its end. It is made of the field data of each frame in
	// the unnamed format, so that nothing is encoded for one stream alone.
	data []byte
	// at is the position after the last event of the batch.
	at     position.Position
	events int
	// next is the field data of the event that Room was called for.
	next []byte
}

// A batch has at most this many events and bytes, unless a single event is larger: clients
// that read an event into a buffer often have 64 kB for it, and would drop the stream at
// the same batch again and again.
const (
	BatchEvents = 500
	BatchBytes  = 32 << 10
)

func newBatches(p plain) *batches {
	b := &batches{plain: p, named: p.format&Unnamed == 0}
	// A batch is one stream's alone, so no compressed form of it could be shared.
	b.format = p.format&^Gzip | Unnamed
	return b
}

// Room makes room for an event. The buffer is sent before a batch begins, so a batch that
// has begun waits for no reader.
func (b *batches) Room(dst []byte, f *Frame, e *outbox.Event) ([]byte, bool) {
	if f != nil {
		b.next = f.within(b.format, b.maxData).data()
	} else {
		b.next = appendWithin(nil, e, b.format, b.maxData, appendHead)
	}
	if b.events > 0 && (b.events >= BatchEvents || len(b.data)+len(b.next) > BatchBytes) {
		dst = b.close(dst)
	}
	return dst, b.events == 0 && len(dst) > 0
}

func (b *batches) Pending() int { return len(b.data) }

func (b *batches) Frame(dst []byte, f *Frame) []byte { return b.FrameAt(dst, f, f.Position()) }

func (b *batches) FrameAt(dst []byte, f *Frame, at position.Position) []byte {
	return b.Event(dst, f.Event, at)
}

// Event adds an event to the batch, which has room for it.
func (b *batches) Event(dst []byte, _ *outbox.Event, at position.Position) []byte {
	const name = "data: "
	if b.events == 0 {
		b.data = append(b.data, name+"["...)
	} else {
		b.data = append(b.data, ',')
	}
	b.data = append(b.data, b.next[len(name):len(b.next)-1]...)
	b.at, b.next = at, nil
	b.events++
	return dst
}

// close appends the batch, if there is anything in it.
func (b *batches) close(dst []byte) []byte {
	if b.events == 0 {
		return dst
	}
	dst = begin(dst)
	if b.named {
		dst = append(dst, "event: outcrier.batch\n"...)
	}
	dst = append(dst, b.data...)
	dst = appendEnd(append(dst, "]\n"...), b.keys, b.at)
	b.events, b.data = 0, b.data[:0]
	if cap(b.data) > 2*BatchBytes {
		b.data = nil // one very large event
	}
	return dst
}

func (b *batches) Notice(dst []byte, n Notice) []byte { return b.plain.Notice(b.close(dst), n) }

func (b *batches) Heartbeat(dst []byte, at position.Position, moved bool) []byte {
	return b.plain.Heartbeat(b.close(dst), at, moved)
}

func (b *batches) End(dst []byte, e Ending) ([]byte, bool) { return b.plain.End(b.close(dst), e) }

func (b *batches) Seal(dst []byte) []byte {
	dst = b.close(dst)
	b.data = nil // a stream that waits holds no buffer
	return dst
}
