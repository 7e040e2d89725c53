package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// relay hands lines on over a TCP connection on loopback: with a floor in front, the
// least that any server does which reads an event from the table and sends it to a
// client.
type relay struct {
	server, client net.Conn
	ended          chan error
}

// newRelay tells heard of the marks that arrive, and when.
func newRelay(ctx context.Context, heard func(mark, time.Duration)) (*relay, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	r := &relay{ended: make(chan error, 1)}
	if r.client, err = new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String()); err != nil {
		return nil, err
	}
	if r.server, err = listener.Accept(); err != nil {
		return nil, errors.Join(err, r.client.Close())
	}
	go func() { r.ended <- r.receive(heard) }()
	return r, nil
}

func (r *relay) receive(heard func(mark, time.Duration)) error {
	lines := bufio.NewScanner(r.client)
	for lines.Scan() {
		at := time.Since(began)
		m, ok := parseMark(lines.Bytes())
		if !ok {
			return fmt.Errorf("line %.50q has no mark", lines.Bytes())
		}
		heard(m, at)
	}
	return lines.Err()
}

func (r *relay) send(payload []byte) error {
	_, err := r.server.Write(append(payload, '\n'))
	return err
}

// close sends what is left, and tells why the receiver had stopped by itself.
func (r *relay) close() error {
	err := errors.Join(r.server.Close(), <-r.ended)
	return errors.Join(err, r.client.Close())
}
