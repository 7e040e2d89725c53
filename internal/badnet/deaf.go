package badnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Deaf is a connection of HTTP/2 without TLS whose reader takes no data: its windows are 0.
// It sends the requests of a test, and reads the heads of the answers.
type Deaf struct {
	conn    net.Conn
	address string

	mu      sync.Mutex // of writes
	framer  *http2.Framer
	streams uint32
	// fields are those of the last request, and block is how they are written. Often the next
	// request is the same, and a long one takes longer to compress than to send.
	fields []string
	block  []byte

	answered, reset atomic.Int64
	ended           chan struct{}
}

// DialDeaf connects. Close must be called.
func DialDeaf(ctx context.Context, address string) (*Deaf, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	d := &Deaf{conn: conn, address: address, framer: http2.NewFramer(conn, conn), ended: make(chan struct{})}
	_, err = conn.Write([]byte(http2.ClientPreface))
	if err == nil {
		err = d.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go d.read()
	return d, nil
}

// Get sends a request for a path; header are pairs of a name in lower case and a value.
func (d *Deaf) Get(path string, header ...string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	fields := append([]string{":method", "GET", ":scheme", "http", ":authority", d.address, ":path", path}, header...)
	if !slices.Equal(fields, d.fields) {
		var written bytes.Buffer
		encoder := hpack.NewEncoder(&written)
		for i := 0; i+1 < len(fields); i += 2 {
			if err := encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
				return err
			}
		}
		d.fields, d.block = fields, written.Bytes()
	}
	block := bytes.NewBuffer(d.block)
	d.streams += 2
	const frame = 16 << 10 // the largest that a server takes unless it says otherwise
	piece := block.Next(frame)
	err := d.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: d.streams - 1, BlockFragment: piece, EndStream: true, EndHeaders: block.Len() == 0})
	for err == nil && block.Len() > 0 {
		piece = block.Next(frame)
		err = d.framer.WriteContinuation(d.streams-1, block.Len() == 0, piece)
	}
	return err
}

// read reads frames until the connection ends.
func (d *Deaf) read() {
	defer close(d.ended)
	for {
		frame, err := d.framer.ReadFrame()
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.HeadersFrame:
			d.answered.Add(1)
		case *http2.RSTStreamFrame:
			d.reset.Add(1)
		case *http2.SettingsFrame:
			if !f.IsAck() {
				d.mu.Lock()
				_ = d.framer.WriteSettingsAck() // a closed connection shows in the next read
				d.mu.Unlock()
			}
		case *http2.PingFrame:
			d.mu.Lock()
			_ = d.framer.WritePing(true, f.Data)
			d.mu.Unlock()
		}
	}
}

// Answered is how many answers have begun.
func (d *Deaf) Answered() int64 { return d.answered.Load() }

// Reset is how many streams the server has reset.
func (d *Deaf) Reset() int64 { return d.reset.Load() }

// Ended reports whether the server has closed the connection.
func (d *Deaf) Ended() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// Close ends the connection.
func (d *Deaf) Close() error {
	err := d.conn.Close()
	<-d.ended
	if err != nil {
		return fmt.Errorf("close a deaf connection: %w", err)
	}
	return nil
}
