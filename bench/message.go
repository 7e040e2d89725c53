package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// followMessages is follow on a WebSocket (RFC 6455, section 5.2): each event is a text
// message {"position":…,"event":…}, whole in one frame.
func (s *stream) followMessages(from *stamped, buffered *bufio.Reader, live func()) error {
	frames := frameReader{from: buffered}
	var e event
	for {
		kind, text, err := frames.next()
		switch {
		case errors.Is(err, io.EOF), kind == frameClose:
			return errEnded
		case err != nil:
			return fmt.Errorf("read a WebSocket: %w", err)
		case kind != frameText:
			continue // a ping, which may stay without an answer
		}
		e.message(text)
		if err := s.dispatch(&e, from.at, live); err != nil {
			return err
		}
		e = event{id: e.id[:0]}
	}
}

// message takes a message.
func (e *event) message(text []byte) {
	text = bytes.TrimPrefix(text, []byte(`{"position":"`))
	position, text, _ := bytes.Cut(text, []byte{'"'})
	e.id = append(e.id[:0], position...)
	_, kind, _ := bytes.Cut(text, []byte(`"type":"`))
	kind, _, _ = bytes.Cut(kind, []byte{'"'})
	e.kind = kindOf(kind)
	e.take(text)
}

const (
	frameText  = 0x1
	frameClose = 0x8
)

// frameReader reads the frames of a server, of any length.
type frameReader struct {
	from *bufio.Reader
	text []byte
}

func (r *frameReader) next() (kind byte, text []byte, err error) {
	var header [10]byte
	if _, err := io.ReadFull(r.from, header[:2]); err != nil {
		return 0, nil, err
	}
	const final, masked = 1 << 7, 1 << 7
	if header[0]&final == 0 || header[1]&masked != 0 {
		return 0, nil, fmt.Errorf("a frame begins with %#x", header[:2])
	}
	length := uint64(header[1])
	switch length {
	case 126:
		_, err = io.ReadFull(r.from, header[2:4])
		length = uint64(binary.BigEndian.Uint16(header[2:]))
	case 127:
		_, err = io.ReadFull(r.from, header[2:])
		length = binary.BigEndian.Uint64(header[2:])
	}
	if err != nil || length > maxFrame {
		return 0, nil, errors.Join(err, fmt.Errorf("a frame of %d bytes", length))
	}
	if uint64(cap(r.text)) < length {
		r.text = make([]byte, length)
	}
	r.text = r.text[:length]
	_, err = io.ReadFull(r.from, r.text)
	return header[0] & 0xf, r.text, err
}

// maxFrame is over the largest event in bytes.
const maxFrame = 4 << 20
