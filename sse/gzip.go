package sse

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/klauspost/compress/flate"

	"github.com/outcrier/outcrier/outbox"
)

// With Gzip a frame is compressed on its own, once for all streams: the result ends at a
// whole byte and refers to nothing before it, so that it can stand at any place of any
// stream. The id, which some streams have of their own, is stored uncompressed behind
// it. Text of one stream alone is compressed when it is written, and a short one stored.

// GzipComment is the comment in the header of what is compressed here: by it one can
// tell that no proxy does, which would hold events back.
const GzipComment = "outcrier"

const (
	// gzipHeader begins a stream: deflate, no time, any system, a comment (2.3.1).
	gzipHeader = "\x1f\x8b\x08\x10\x00\x00\x00\x00\x00\xff" + GzipComment + "\x00"
	// deflateMark is an empty stored block (RFC 1951, 3.2.4): some readers give out
	// what they have only when they meet one. Behind its first bits, which end with the
	// first byte, it is emptyLength.
	deflateMark = "\x00" + emptyLength
	emptyLength = "\x00\x00\xff\xff"
	// deflateEnd is an empty last block.
	deflateEnd = "\x03\x00"
	// Text up to here is stored, as it would hardly get shorter.
	storedBytes = 128
)

// compressed is the part of a stream that knows what of it is compressed.
type compressed struct {
	on bool
	// sealed is how much of the stream's buffer is as it will be sent; the rest is
	// text.
	sealed int
	// unmarked is set while a reader may need a mark behind the sealed part.
	unmarked bool
	// sum is of all text so far, compressed or stored.
	sum checksum
}

// open begins a compressed stream.
func (t *stream) open() {
	if t.gzip.on {
		t.buf = append(t.text(), gzipHeader...)
		t.gzip.sealed = len(t.buf)
	}
}

// seal compresses the text in the buffer.
func (t *stream) seal() {
	if !t.gzip.on || len(t.buf) <= t.gzip.sealed {
		return
	}
	text := t.buf[t.gzip.sealed:]
	t.gzip.sum.join(summed(text))
	t.buf, t.gzip.unmarked = pack(t.buf, t.gzip.sealed)
	t.gzip.sealed = len(t.buf)
}

// shut ends a compressed stream that ends in order.
func (t *stream) shut() {
	if !t.gzip.on {
		return
	}
	t.seal()
	t.gzip.unmarked = false
	t.buf = append(t.text(), deflateEnd...)
	t.buf = binary.LittleEndian.AppendUint32(t.buf, t.gzip.sum.crc)
	t.buf = binary.LittleEndian.AppendUint32(t.buf, t.gzip.sum.size)
	t.gzip.sealed = len(t.buf)
}

// added takes note of a frame that was put into the buffer as it is.
func (t *stream) added(sum checksum) {
	if t.gzip.on {
		t.gzip.sealed, t.gzip.unmarked = len(t.buf), true
		t.gzip.sum.join(sum)
	}
}

// compress makes the compressed form of an encoded frame. The block that ends the head
// is the one that stores the id.
func (e *encoded) compress() *encoded {
	head, end := e.wire[:e.head], e.wire[e.head:]
	c := &encoded{sum: summed(e.wire), headSum: summed(head), wire: deflate(head), key: e.key}
	c.head = len(c.wire) - len(emptyLength)
	c.wire = slices.Clip(appendStored(c.wire[:c.head], end))
	return c
}

// appendEndStored is appendEnd behind a compressed head; it returns the sum of its text
// too.
func appendEndStored(dst []byte, keys *outbox.PositionKeys, p outbox.Position) ([]byte, checksum) {
	end := appendEnd(nil, keys, p)
	return appendStored(dst, end), summed(end)
}

// appendStored appends the rest of a stored block whose first bits are there: the length
// of the text, 65,535 bytes at most, and the text.
func appendStored(dst, text []byte) []byte {
	n := uint16(len(text))
	dst = binary.LittleEndian.AppendUint16(dst, n)
	dst = binary.LittleEndian.AppendUint16(dst, ^n)
	return append(dst, text...)
}

// pack compresses the text behind from, or stores it, without a mark, if it is short.
func pack(dst []byte, from int) (packed []byte, unmarked bool) {
	if len(dst)-from > storedBytes {
		return append(dst[:from], deflate(dst[from:])...), false
	}
	return stored(dst, from), true
}

// deflate compresses text. It ends with an empty stored block, which is a mark.
func deflate(text []byte) []byte {
	var out bytes.Buffer
	if err := flate.StatelessDeflate(&out, text, false, nil); err != nil {
		panic(err) // a Buffer takes everything
	}
	return out.Bytes()
}

// stored makes a stored block of what follows from, 65,535 bytes at most.
func stored(dst []byte, from int) []byte {
	const header = 5
	n := uint16(len(dst) - from)
	dst = append(dst, make([]byte, header)...)
	copy(dst[from+header:], dst[from:])
	dst[from] = 0
	binary.LittleEndian.PutUint16(dst[from+1:], n)
	binary.LittleEndian.PutUint16(dst[from+3:], ^n)
	return dst
}

// checksum is what the end of a gzip member has of its text: CRC-32, and the length
// modulo 2³². That of two texts in a row is made of those of the two: the first is
// shifted by the length of the second, a multiplication by shift modulo the
// polynomial.
type checksum struct{ crc, size, shift uint32 }

// summed is the checksum of a text.
func summed(text []byte) checksum {
	return checksum{crc32.ChecksumIEEE(text), uint32(len(text)), shiftBy(len(text))}
}

// join makes the checksum one of the text that it is of and the next.
func (c *checksum) join(next checksum) {
	c.crc = multiply(next.shift, c.crc) ^ next.crc
	c.size += next.size
}

// one is the polynomial 1: the bits stand in reverse, as in CRC-32.
const one uint32 = 1 << 31

// multiply gives a·b modulo CRC-32's polynomial.
func multiply(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		product ^= b & -(a >> 31)
		b = b>>1 ^ crc32.IEEE&-(b&1)
	}
	return product
}

// shiftBy is the polynomial by which n bytes more shift a checksum: x to the 8n.
func shiftBy(n int) uint32 {
	shift, power := one, one>>8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			shift = multiply(shift, power)
		}
		power = multiply(power, power)
	}
	return shift
}
