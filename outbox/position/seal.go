package position

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
)

// The first byte of a sealed position: who packed it.
const (
	formPacked   = 0x30 // Position.pack
	formSnapshot = 0x31 // the SQL function position
	// formStream begins what the keystream is made of, so that it is no tag.
	formStream = 0x3f

	tagBytes   = 16
	sealedHead = 2 + tagBytes
	// The packed position is filled up to a multiple of it, so that its length hardly
	// reveals how many transactions are in flight.
	sealedStep = 16
)

// Seal writes a position. One that would be too long is rounded down: it claims less, so
// that events may come again and none is lost.
func (k *Keys) Seal(p Position) string { return string(k.Append(nil, p)) }

// Append appends the written position to dst.
func (k *Keys) Append(dst []byte, p Position) []byte {
	key := k.Used()
	if key == nil {
		dst = strconv.AppendInt(dst, p.EventID, 10)
		return append(dst, ".MAA"...) // form and key 0, and nothing
	}
	s := sealings.Get().(*sealing)
	defer sealings.Put(s)
	s.begin(key, formPacked, p.EventID)
	s.message = p.packShort(s.message)
	return s.seal(dst, key, p.EventID)
}

// sealing is what a position is sealed or opened with, lent by a pool.
type sealing struct {
	hash.Hash
	// message is the input of the tag, and sealed the bytes written in base64.
	message, sealed []byte
	sum             [sha256.Size]byte
	block           [1 + tagBytes + 4]byte
}

var sealings = sync.Pool{New: func() any { return &sealing{Hash: sha256.New()} }}

// begin writes what stands before the packed position in the message.
func (s *sealing) begin(key *Key, form byte, id int64) {
	s.message = append(s.message[:0], form, key.number)
	s.message = binary.BigEndian.AppendUint64(s.message, uint64(id))
}

// messageHead is how much begin writes.
const messageHead = 2 + 8

// seal appends the position of the message.
func (s *sealing) seal(dst []byte, key *Key, id int64) []byte {
	s.message = append(s.message, zeros[:-(len(s.message)-messageHead)&(sealedStep-1)]...)
	s.sealed = append(s.sealed[:0], s.message[:2]...)
	s.sealed = append(s.sealed, s.mac(key, s.message)[:tagBytes]...)
	s.sealed = append(s.sealed, s.message[messageHead:]...)
	s.xor(key, s.sealed[sealedHead:], s.sealed[2:sealedHead])
	dst = strconv.AppendInt(dst, id, 10)
	dst = append(dst, '.')
	return base64.RawURLEncoding.AppendEncode(dst, s.sealed)
}

var zeros [sealedStep]byte

// unseal opens s.sealed, in the message, and reports whether the tag is of that and the id.
func (s *sealing) unseal(key *Key, id int64) (packed []byte, ok bool) {
	tag := s.sealed[2:sealedHead]
	s.begin(key, s.sealed[0], id)
	s.message = append(s.message, s.sealed[sealedHead:]...)
	packed = s.message[messageHead:]
	s.xor(key, packed, tag)
	return packed, subtle.ConstantTimeCompare(s.mac(key, s.message)[:tagBytes], tag) == 1
}

// xor seals packed bytes, or opens sealed ones.
func (s *sealing) xor(key *Key, text, tag []byte) {
	s.block[0] = formStream
	copy(s.block[1:], tag)
	for i := uint32(0); len(text) > 0; i++ {
		binary.BigEndian.PutUint32(s.block[1+tagBytes:], i)
		text = text[subtle.XORBytes(text, text, s.mac(key, s.block[:])):]
	}
}

// mac returns HMAC-SHA256 of a message, until the next call.
func (s *sealing) mac(key *Key, message []byte) []byte {
	s.resume(key.innerState)
	s.Write(message)
	inner := s.Sum(s.sum[:0])
	s.resume(key.outerState)
	s.Write(inner)
	return s.Sum(s.sum[:0])
}

func (s *sealing) resume(state []byte) {
	if err := s.Hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		panic(err) // it is of MarshalBinary
	}
}

// ErrMalformedPosition is what every error of Open wraps.
var ErrMalformedPosition = errors.New("malformed position")

// Open reads a position that Append of any node or the SQL function position wrote. It
// accepts nothing else and makes no query, and its time does not depend on the content: a
// position is input from strangers.
func (k *Keys) Open(text string) (Position, error) {
	p, err := k.open(text)
	if err != nil {
		return Position{}, fmt.Errorf("%w: %w", ErrMalformedPosition, err)
	}
	return p, nil
}

func (k *Keys) open(text string) (p Position, err error) {
	if len(text) > maxPositionText {
		return p, fmt.Errorf("%d bytes long, at most %d are allowed", len(text), maxPositionText)
	}
	number, opaque, found := strings.Cut(text, ".")
	if !found {
		return p, errors.New("no dot between the event's id and the rest")
	}
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil || id < 0 || number != strconv.FormatInt(id, 10) {
		return p, errors.New("the part before the dot is not an event's id")
	}
	s := sealings.Get().(*sealing)
	defer sealings.Put(s)
	s.message = append(s.message[:0], opaque...)
	s.sealed, err = base64.RawURLEncoding.Strict().AppendDecode(s.sealed[:0], s.message)
	switch {
	case err != nil || strings.ContainsAny(opaque, "\r\n"): // which base64 passes over
		return p, errors.New("the part after the dot is not base64url")
	case len(s.sealed) < sealedHead+sealedStep || (len(s.sealed)-sealedHead)%sealedStep != 0:
		return p, errors.New("wrong length")
	}
	form := s.sealed[0]
	if form != formPacked && form != formSnapshot {
		return p, errors.New("unknown version")
	}
	key := k.numbered(s.sealed[1])
	if key == nil {
		return p, errors.New("sealed with an unknown key")
	}
	packed, ok := s.unseal(key, id)
	if !ok {
		return p, errors.New("not sealed here, or altered")
	}
	return unpack(id, form == formSnapshot, packed)
}

// filling reports whether rest is what seal fills a packed position up with.
func filling(rest []byte) bool { return len(rest) < sealedStep && bytes.Equal(rest, zeros[:len(rest)]) }
