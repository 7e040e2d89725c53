package position

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// Position is the set of events that a reader has received so far, in a form short enough
// for an event stream's id. It is not a place in a line: resuming from it returns exactly
// the events outside the set, whenever they committed.
//
// Between two reads of the table it has the events of the transactions in Given. In the middle of
// a read it also has those events of Within whose ids are not above EventID.
type Position struct {
	// History is the history that the position belongs to; a restored database
	// begins another.
	History uint32
	// EventID is the id of the event that the position stands on, 0 before the
	// first.
	EventID int64
	// Given are the transactions of which the reader has received all events.
	Given Set
	// Within, when not nil, are the transactions of the read that the position is in the
	// middle of: the reader has received their events with ids up to EventID too.
	Within *Set
	// Anchor is an event that was visible when the position was made.
	Anchor Anchor
	// Removal is the newest removal by retention that the reader knows of: an older one
	// can't be a gap any more.
	Removal int64
}

// Anchor ties a position to the database's past: as long as the anchor's
// transaction is still there, no xid up to it was handed out twice. XID is at most 3,
// which is that of settled rows, where no anchor is needed.
type Anchor struct {
	XID uint64
	// Hash is of that transaction's newest event.
	Hash uint32
}

// SettledXID is the transaction of rows that came from another cluster: older than all
// others.
const SettledXID = 3

// NewAnchor hashes an event like the SQL function anchor does.
func NewAnchor(xid uint64, id int64, createdAt time.Time) Anchor {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%d:%d", xid, id, createdAt.UnixMicro()))
	return Anchor{XID: xid, Hash: binary.BigEndian.Uint32(sum[:4])}
}

// Has reports whether the reader has received an event.
func (p Position) Has(xid uint64, id int64) bool {
	return p.Given.Has(xid) || p.Within != nil && id <= p.EventID && p.Within.Has(xid)
}

// Covers reports whether a reader at p has received everything that one at o has. Both are
// of one history; positions of different ones can't be compared.
func (p Position) Covers(o Position) bool {
	if p.History != o.History {
		return false
	}
	whole := o.Given
	if o.Within != nil {
		whole = whole.Union(*o.Within)
	}
	if p.Given.Covers(whole) {
		return true
	}
	// Both may stand in the middle of the same read.
	return p.Within != nil && p.Given.Covers(o.Given) && p.EventID >= o.EventID &&
		(o.Within == nil || p.Within.Max == o.Within.Max && slices.Equal(p.Within.Except, o.Within.Except))
}

// Join returns the position of a reader that has received all events of p and of q, neither
// of which is in the middle of a read.
func (p Position) Join(q Position) Position {
	p.Given = p.Given.Union(q.Given)
	if q.Anchor.XID > p.Anchor.XID {
		p.Anchor = q.Anchor
	}
	p.EventID = max(p.EventID, q.EventID)
	p.Removal = max(p.Removal, q.Removal)
	return p
}

// Equal reports whether two positions are the same.
func (p Position) Equal(q Position) bool {
	if (p.Within == nil) != (q.Within == nil) || p.Within != nil && !p.Within.equal(*q.Within) {
		return false
	}
	return p.History == q.History && p.EventID == q.EventID && p.Anchor == q.Anchor && p.Removal == q.Removal && p.Given.equal(q.Given)
}

// String describes the position, for logs. It is not what readers are sent: Keys write
// that.
func (p Position) String() string {
	text := fmt.Sprintf("event %d of history %08x, transactions up to %d", p.EventID, p.History, p.Given.Max)
	if len(p.Given.Except) > 0 {
		text += fmt.Sprintf(" but %d", p.Given.Except)
	}
	if p.Within != nil {
		text += fmt.Sprintf(", within a read up to %d but %d", p.Within.Max, p.Within.Except)
	}
	return text + fmt.Sprintf(", anchor %d %08x, removal %d", p.Anchor.XID, p.Anchor.Hash, p.Removal)
}
