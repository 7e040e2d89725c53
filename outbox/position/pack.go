package position

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// maxPositionText is the longest position that is promised to clients; it fits the buffers for
// headers of every proxy. maxPositionBytes of a packed one are no longer once they are sealed and
// in base64.
const (
	maxPositionText  = 2048
	maxPositionBytes = 93 * sealedStep
)

// The first byte of a packed position.
const (
	flagWithin      = 1 << 0
	flagAnchorApart = 1 << 1
)

// packShort is pack of at most maxPositionBytes. A position that would be longer is rounded
// down: it claims less, so that events may come again and none is lost.
func (p Position) packShort(dst []byte) []byte {
	begin := len(dst)
	dst = p.pack(dst)
	if len(dst)-begin > maxPositionBytes && p.Within != nil {
		p.Within = nil
		dst = p.pack(dst[:begin])
	}
	for len(dst)-begin > maxPositionBytes {
		p.Given = p.Given.cut(len(p.Given.Except) / 2)
		dst = p.pack(dst[:begin])
	}
	return dst
}

func (p Position) pack(dst []byte) []byte {
	top, flags := p.Given.Max, byte(0)
	if p.Within != nil {
		top, flags = p.Within.Max, flags|flagWithin
	}
	if p.Anchor.XID != top {
		flags |= flagAnchorApart
	}
	dst = append(dst, flags)
	dst = binary.BigEndian.AppendUint32(dst, p.History)
	dst = binary.BigEndian.AppendUint32(dst, p.Anchor.Hash)
	dst = binary.AppendUvarint(dst, uint64(p.Removal))
	dst = binary.AppendUvarint(dst, p.Given.Max)
	dst = packExcept(dst, p.Given)
	if p.Within != nil {
		dst = binary.AppendUvarint(dst, p.Within.Max-p.Given.Max)
		dst = packExcept(dst, *p.Within)
	}
	if flags&flagAnchorApart != 0 {
		dst = binary.AppendUvarint(dst, p.Anchor.XID-top)
	}
	return dst
}

// packExcept writes how many there are, then the distances down from Max.
func packExcept(dst []byte, s Set) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s.Except)))
	previous := s.Max
	for _, xid := range slices.Backward(s.Except) {
		dst = binary.AppendUvarint(dst, previous-xid)
		previous = xid
	}
	return dst
}

// unpack reads a packed position: one of the SQL function position, or one of pack. It
// takes nothing that they don't write.
func unpack(id int64, snapshot bool, packed []byte) (Position, error) {
	p := Position{EventID: id}
	if len(packed) > maxPositionBytes {
		return Position{}, fmt.Errorf("%d bytes packed, at most %d are written", len(packed), maxPositionBytes)
	}
	r := unpacker{rest: packed}
	if snapshot {
		r.snapshot(&p)
		if r.err != nil {
			return Position{}, r.err
		}
		return p, nil
	}
	flags := r.byte()
	if r.err == nil && flags&^(flagWithin|flagAnchorApart) != 0 {
		return Position{}, errors.New("unknown version")
	}
	p.History, p.Anchor.Hash = r.uint32(), r.uint32()
	p.Removal = int64(r.uvarint(math.MaxInt64))
	p.Given = r.set(0)
	top := p.Given.Max
	if flags&flagWithin != 0 {
		within := r.set(p.Given.Max)
		p.Within, top = &within, within.Max
	}
	p.Anchor.XID = top
	if flags&flagAnchorApart != 0 {
		p.Anchor.XID += r.uvarint(math.MaxInt64 - top)
	}
	switch {
	case r.err != nil:
		return Position{}, r.err
	case !filling(r.rest):
		return Position{}, fmt.Errorf("%d bytes too many", len(r.rest))
	case flags&flagAnchorApart != 0 && p.Anchor.XID == top:
		return Position{}, errors.New("an anchor in the wrong form")
	}
	return p, nil
}

// snapshot reads what the SQL function position packs: the history, the anchor's hash, the
// newest removal, the anchor's xid, the set's maximum, and the transactions in flight up to
// it, ascending.
func (r *unpacker) snapshot(p *Position) {
	p.History, p.Anchor.Hash = r.uint32(), r.uint32()
	p.Removal, p.Anchor.XID, p.Given.Max = int64(r.uint64()), r.uint64(), r.uint64()
	previous := uint64(0)
	for !filling(r.rest) && r.err == nil {
		xid := r.uint64()
		if r.err == nil && (xid <= previous || xid > p.Given.Max) {
			r.err = errors.New("transactions out of order")
		}
		p.Given.Except = append(p.Given.Except, xid)
		previous = xid
	}
	if r.err == nil && (p.Anchor.XID < p.Given.Max || p.Given.Max < SettledXID) {
		r.err = errors.New("a number out of range")
	}
	// The maximum is a member of the set, so it can't be an exception.
	for n := len(p.Given.Except); n > 0 && p.Given.Except[n-1] == p.Given.Max; n-- {
		p.Given = Set{Max: p.Given.Max - 1, Except: p.Given.Except[:n-1]}
	}
}

// unpacker reads what pack wrote; after the first fault it reads zeros.
type unpacker struct {
	rest []byte
	err  error
}

func (r *unpacker) take(n int) []byte {
	if r.err == nil && len(r.rest) < n {
		r.err = errors.New("cut short")
	}
	if r.err != nil {
		return make([]byte, n)
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *unpacker) byte() byte     { return r.take(1)[0] }
func (r *unpacker) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }

// uint64 reads a number of fixed width, at most math.MaxInt64.
func (r *unpacker) uint64() uint64 {
	n := binary.BigEndian.Uint64(r.take(8))
	if n > math.MaxInt64 && r.err == nil {
		r.err = errors.New("a number out of range")
	}
	return n
}

// uvarint reads a number of at most max, in its shortest form.
func (r *unpacker) uvarint(max uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.rest)
	switch {
	case n == 0:
		r.err = errors.New("cut short")
	case n < 0 || v > max:
		r.err = errors.New("a number out of range")
	case n > 1 && r.rest[n-1] == 0:
		r.err = errors.New("a number not in its shortest form")
	}
	if r.err != nil {
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// set reads a set whose Max is written as the distance from base.
func (r *unpacker) set(base uint64) Set {
	s := Set{Max: base + r.uvarint(math.MaxInt64-base)}
	n := r.uvarint(maxPositionBytes)
	previous := s.Max
	for range n {
		distance := r.uvarint(previous)
		if r.err == nil && (distance == 0 || distance == previous) {
			r.err = errors.New("transactions out of order")
		}
		if r.err != nil {
			return Set{}
		}
		previous -= distance
		s.Except = append(s.Except, previous)
	}
	slices.Reverse(s.Except)
	return s
}
