package tail

import (
	"github.com/outcrier/outcrier/outbox/internal/table"
)

// request is a request to be woken. It is drawn by a read, in one statement: the statement's
// snapshot comes first, then the request can be seen, and then the next xid is read. Every
// writer that looked before the request could be seen had its xid by then, below next. So if
// nothing below next is in progress in the snapshot, the read has all events of those
// writers, and the tail may sleep: all others see the request and notify. If not, later
// reads wait until it is so.
type request struct {
	number int64
	next   uint64 // 0 while it is not known
}

// seen takes what a read has drawn and seen.
func (r *request) seen(about aboutRow, s table.Snapshot) {
	if about.drawn != 0 {
		r.number = about.drawn
	}
	if r.next == 0 && about.aged {
		r.next = nextXID(about.age, s.Max)
	}
}

// nextXID returns the xid that has this age (of xid 3, to 32 bits), the first from max on.
func nextXID(age int64, max uint64) uint64 {
	return max + uint64(uint32(age)+3-uint32(max))
}

// clear reports whether the tail may sleep after a read of the snapshot.
func (r *request) clear(s table.Snapshot) bool { return r.next != 0 && s.Min >= r.next }
