package wire

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/klauspost/compress/flate"

	"github.com/outcrier/outcrier/outbox/position"
)

// With Gzip a frame is compressed on its own, once for all streams: the result ends at a
// whole byte and refers to nothing before it, so that it can be at any place of any stream.
// The id, which some streams have of their own, follows it uncompressed. Text for a single
// stream is compressed when it is written, and only stored if it is short.

// GzipComment is the comment in the gzip header of our streams: it shows that no proxy
// compresses them, which would hold events back.
const GzipComment = "outcrier"

const (
	// gzipHeader begins a stream: deflate, no time, any system, a comment (2.3.1).
	gzipHeader = "\x1f\x8b\x08\x10\x00\x00\x00\x00\x00\xff" + GzipComment + "\x00"
	// deflateMark is an empty stored block (RFC 1951, 3.2.4): some readers return their
	// data only when they meet one. After its first bits, which end with the first byte, it
	// is emptyLength.
	deflateMark = "\x00" + emptyLength
	emptyLength = "\x00\x00\xff\xff"
	// deflateEnd is an empty last block.
	deflateEnd = "\x03\x00"
	// Text up to here is stored, as it would hardly get shorter.
	storedBytes = 128
)

// compressed compresses the stream.
type compressed struct {
	plain
	// sealed is the length of the part of the buffer that is ready to be sent; the rest is
	// text. A buffer begins with room for a chunk's header.
	sealed int
	// unmarked is set while a reader may need a mark after the sealed part.
	unmarked bool
	// sum is of all text so far, compressed or stored.
	sum checksum
}

func (g *compressed) Open(dst []byte) []byte {
	dst = append(begin(dst), gzipHeader...)
	g.sealed = len(dst)
	return g.plain.Open(dst)
}

// pack compresses the text in the buffer.
func (g *compressed) pack(dst []byte) []byte {
	g.sealed = max(g.sealed, chunkRoom)
	if len(dst) <= g.sealed {
		return dst
	}
	g.sum.join(summed(dst[g.sealed:]))
	dst, g.unmarked = pack(dst, g.sealed)
	g.sealed = len(dst)
	return dst
}

func (g *compressed) Frame(dst []byte, f *Frame) []byte {
	e := f.within(g.format, g.maxData)
	dst = append(begin(g.pack(dst)), e.wire...)
	g.added(dst, e.sum)
	return dst
}

func (g *compressed) FrameAt(dst []byte, f *Frame, at position.Position) []byte {
	e := f.within(g.format, g.maxData)
	dst, sum := appendEndStored(append(begin(g.pack(dst)), e.data()...), g.keys, at)
	g.sum.join(e.headSum)
	g.added(dst, sum)
	return dst
}

// added takes note of a frame that was appended as it is.
func (g *compressed) added(dst []byte, sum checksum) {
	g.sealed, g.unmarked = len(dst), true
	g.sum.join(sum)
}

func (g *compressed) End(dst []byte, e Ending) ([]byte, bool) {
	dst, complete := g.plain.End(dst, e)
	if complete {
		dst = append(g.pack(dst), deflateEnd...)
		dst = binary.LittleEndian.AppendUint32(dst, g.sum.crc)
		dst = binary.LittleEndian.AppendUint32(dst, g.sum.size)
		g.sealed, g.unmarked = len(dst), false
	}
	return dst, complete
}

func (g *compressed) Seal(dst []byte) []byte {
	if dst = g.pack(dst); g.unmarked {
		dst = append(dst, deflateMark...)
	}
	g.sealed, g.unmarked = 0, false
	return dst
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

// appendEndStored is appendEnd after a compressed head; it also returns the checksum of its
// text.
func appendEndStored(dst []byte, keys *position.Keys, p position.Position) ([]byte, checksum) {
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

// pack compresses the text after from, or stores it, without a mark, if it is short.
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
		panic(err) // writing to a Buffer can't fail
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

// checksum is that of a gzip trailer: CRC-32, and the length modulo 2³². The checksum of
// two texts in a row is computed from those of the two: the first is shifted by the length
// of the second, which is a multiplication by shift modulo the polynomial.
type checksum struct{ crc, size, shift uint32 }

// summed is the checksum of a text.
func summed(text []byte) checksum {
	return checksum{crc32.ChecksumIEEE(text), uint32(len(text)), shiftBy(len(text))}
}

// join extends the checksum by that of the text that follows.
func (c *checksum) join(next checksum) {
	c.crc = multiply(next.shift, c.crc) ^ next.crc
	c.size += next.size
}

// one is the polynomial 1: the bits stand in reverse, as in CRC-32.
const one uint32 = 1 << 31

// multiply returns a·b modulo CRC-32's polynomial.
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
