package sse

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/klauspost/compress/flate"
)

// With Gzip a frame is compressed on its own, once for all streams: what comes out ends
// at a whole byte and looks back at nothing, so that it can stand at any place of any
// stream. What a stream has for itself alone is compressed when it is written, and a
// short text stored as it is.

// GzipComment is the comment in the header of what is compressed here: by it one can
// tell that no proxy does, which would hold events back.
const GzipComment = "outcrier"

const (
	// gzipHeader begins a stream: deflate, no time, any system, a comment (2.3.1).
	gzipHeader = "\x1f\x8b\x08\x10\x00\x00\x00\x00\x00\xff" + GzipComment + "\x00"
	// deflateMark is an empty stored block (RFC 1951, 3.2.4): some readers give out
	// what they have only when they meet one.
	deflateMark = "\x00\x00\x00\xff\xff"
	// deflateEnd is an empty last block.
	deflateEnd = "\x03\x00"
	// Text up to here is stored, as it would hardly get shorter.
	storedBytes = 128
)

// compressed is the part of a stream that knows what of it is compressed.
type compressed struct {
	on bool
	// sealed is how much of the stream's buffer is as it will be sent; what follows
	// is text.
	sealed int
	// sum is of all text so far, compressed or stored.
	sum checksum
}

// open begins a compressed stream.
func (t *stream) open() {
	if t.gzip.on {
		t.buf = append(t.buf, gzipHeader...)
		t.gzip.sealed = len(t.buf)
	}
}

// seal compresses the text in the buffer. It tells whether a reader may need a mark
// behind it.
func (t *stream) seal() (unmarked bool) {
	text := t.buf[t.gzip.sealed:]
	if !t.gzip.on || len(text) == 0 {
		return false
	}
	t.gzip.sum.join(summed(text))
	t.buf, unmarked = pack(t.buf, t.gzip.sealed)
	t.gzip.sealed = len(t.buf)
	return unmarked
}

// ready makes the buffer what is to be sent.
func (t *stream) ready() {
	if t.seal() {
		t.buf = append(t.buf, deflateMark...)
	}
	t.gzip.sealed = 0 // of the next one
}

// shut ends a compressed stream that ends in order.
func (t *stream) shut() {
	if !t.gzip.on {
		return
	}
	t.seal()
	t.buf = append(t.buf, deflateEnd...)
	t.buf = binary.LittleEndian.AppendUint32(t.buf, t.gzip.sum.crc)
	t.buf = binary.LittleEndian.AppendUint32(t.buf, t.gzip.sum.size)
	t.gzip.sealed = len(t.buf)
}

// added takes note of a frame that was put into the buffer as it is.
func (t *stream) added(sum checksum) {
	if t.gzip.on {
		t.gzip.sealed = len(t.buf)
		t.gzip.sum.join(sum)
	}
}

// compress makes the compressed form of an encoded frame: the id by itself, as some
// streams have another one.
func (e *encoded) compress() *encoded {
	id, body := e.wire[:e.body], e.wire[e.body:]
	c := &encoded{sum: summed(e.wire), bodySum: summed(body)}
	if len(id) > 0 {
		c.wire, _ = pack(append(make([]byte, 0, len(e.wire)), id...), 0)
	}
	c.body = len(c.wire)
	c.wire = append(c.wire, deflate(body)...)
	return c
}

// pack compresses what follows from, or stores it, without a mark, if it is short.
func pack(dst []byte, from int) (packed []byte, unmarked bool) {
	if len(dst)-from > storedBytes {
		return append(dst[:from], deflate(dst[from:])...), false
	}
	return stored(dst, from), true
}

// deflate compresses text, and ends it with a mark.
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
