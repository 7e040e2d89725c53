package sse

// Over HTTP/1.1 a stream is chunked (RFC 9112, 7.1): every write is one chunk, so that
// readers, and all proxies between, can tell a stream that was ended, by a chunk of no
// length, from one that was cut off. The header of a chunk is written into room before
// the text, so that no text is moved for it.
const (
	// chunkRoom is room for eight digits and the line break.
	chunkRoom = 8 + len(lineBreak)
	lineBreak = "\r\n"
	lastChunk = "0\r\n\r\n"
)

var room [chunkRoom]byte

// text is the stream's buffer, to append to: it begins with room for a chunk's header.
func (t *stream) text() []byte {
	if len(t.buf) == 0 {
		t.buf = append(t.buf, room[:]...)
		t.gzip.sealed = chunkRoom
	}
	return t.buf
}

// ready makes the buffer, which has some text, the bytes to send.
func (t *stream) ready() []byte {
	if t.seal(); t.gzip.unmarked {
		t.buf = append(t.buf, deflateMark...)
		t.gzip.unmarked = false
	}
	if !t.chunked {
		return t.buf[chunkRoom:]
	}
	begin, size := chunkRoom-len(lineBreak), len(t.buf)-chunkRoom
	copy(t.buf[begin:], lineBreak)
	for ; size > 0; size >>= 4 {
		begin--
		t.buf[begin] = "0123456789abcdef"[size&15]
	}
	t.buf = append(t.buf, lineBreak...)
	if t.complete {
		t.buf = append(t.buf, lastChunk...)
	}
	return t.buf[begin:]
}
