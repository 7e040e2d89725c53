package wire

// Over HTTP/1.1 a stream of SSE is chunked (RFC 9112, 7.1): every write is one chunk, so
// that readers, and all proxies between, can tell a stream that was ended, by a chunk of no
// length, from one that was cut off. The header of a chunk is as long as the text's length in
// hexadecimal digits, which is known last: so each buffer begins with space for the longest,
// and no text is moved.
const (
	// chunkRoom is the length of the longest header: eight digits and the line break.
	chunkRoom = 8 + len(lineBreak)
	lineBreak = "\r\n"
	lastChunk = "0\r\n\r\n"
)

var noHeader [chunkRoom]byte

// begin returns a buffer to append to: it begins with room for a chunk's header.
func begin(buf []byte) []byte {
	if len(buf) == 0 {
		return append(buf, noHeader[:]...)
	}
	return buf
}

// Framed returns the bytes to send of a sealed buffer that begin began: a chunk, after the
// last one also the end of all chunks, or just the text.
func Framed(buf []byte, chunked, complete bool) []byte {
	if !chunked {
		return buf[chunkRoom:]
	}
	begin, size := chunkRoom-len(lineBreak), len(buf)-chunkRoom
	copy(buf[begin:], lineBreak)
	for ; size > 0; size >>= 4 {
		begin--
		buf[begin] = "0123456789abcdef"[size&15]
	}
	buf = append(buf, lineBreak...)
	if complete {
		buf = append(buf, lastChunk...)
	}
	return buf[begin:]
}
