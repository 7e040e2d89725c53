package position

import "slices"

// Set is a set of transactions: all up to Max but those in Except. It is how a snapshot is
// kept once the aborted transactions are forgotten, and it says which events a reader has
// received: those of its transactions.
//
// Max is the xid of a transaction with a committed, visible event (or zero, and the set is
// empty), never a snapshot's xmax: the xid of an aborted transaction is assigned again
// after a crash, and the events of its next owner would count as received.
type Set struct {
	// Max is the largest member.
	Max uint64
	// Except is ascending, and every one of it is below Max.
	Except []uint64
}

// NewSet returns the set of transactions visible to a snapshot with xip in progress, where
// max is the largest xid among the visible events.
func NewSet(max uint64, xip []uint64) Set {
	n, _ := slices.BinarySearch(xip, max)
	return Set{Max: max, Except: xip[:n:n]}
}

// Has reports whether xid is a member.
func (s Set) Has(xid uint64) bool {
	if xid > s.Max {
		return false
	}
	_, except := slices.BinarySearch(s.Except, xid)
	return !except
}

// Covers reports whether every member of o is one of s.
func (s Set) Covers(o Set) bool {
	if o.Max > s.Max {
		return false
	}
	for _, xid := range s.Except {
		if o.Has(xid) {
			return false
		}
	}
	return true
}

func (s Set) equal(o Set) bool { return s.Max == o.Max && slices.Equal(s.Except, o.Except) }

// Union returns s ∪ o.
func (s Set) Union(o Set) Set {
	if s.Max < o.Max {
		s, o = o, s
	}
	except := make([]uint64, 0, len(s.Except))
	for _, xid := range s.Except {
		if !o.Has(xid) {
			except = append(except, xid)
		}
	}
	return Set{Max: s.Max, Except: except}
}

// cut returns a subset of s that has only the first n exceptions.
func (s Set) cut(n int) Set {
	s.Max, s.Except = s.Except[n]-1, s.Except[:n]
	for n > 0 && s.Except[n-1] == s.Max {
		n--
		s.Max, s.Except = s.Max-1, s.Except[:n]
	}
	return s
}
