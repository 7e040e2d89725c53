package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Bare is the least server that reads events from a table and sends them to clients, as the
// baseline for Outcrier's costs: it learns of a row by NOTIFY, fetches it, and writes it to
// every open connection. It has no topics, positions, queues or heartbeats, and promises
// nothing: rows that commit while it does not listen are lost, and so are bytes that a
// client does not take at once.
//
// Schema is a bench's scratch schema in the database, listen a TCP address; it prints the
// actual one to stdout, like "outcrier serve". Bare returns nil when ctx has ended.
func Bare(ctx context.Context, database, schema, listen string, stdout io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	var b bareServer
	f, err := newFloor(ctx, database, schema, b.send)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	var accepting sync.WaitGroup
	accepting.Go(func() { b.accept(listener) })
	fmt.Fprintf(stdout, "stream curl -N 'http://%s/events'\n", listener.Addr())
	select {
	case <-ctx.Done():
		err = f.close(ctx)
	case err = <-f.ended:
		err = errors.Join(err, f.conn.Close(ctx))
	}
	err = errors.Join(err, listener.Close())
	b.leave()
	accepting.Wait()
	return err
}

// bareServer holds the connections of a Bare.
type bareServer struct {
	mu    sync.Mutex
	conns []bareConn
	left  bool
}

// bareConn is written to by its descriptor, which costs less than by net.
type bareConn struct {
	net.Conn
	fd int
}

func (b *bareServer) accept(listener net.Listener) {
	var joining sync.WaitGroup
	defer joining.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		joining.Go(func() {
			if err := b.join(conn); err != nil {
				_ = conn.Close()
			}
		})
	}
}

const bareHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: outcrier.live\ndata: {}\n\n"

// join answers the first request of a connection, whatever it is.
func (b *bareServer) join(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(connectLimit)); err != nil {
		return err
	}
	request, err := http.ReadRequest(bufio.NewReaderSize(conn, 512))
	if err != nil {
		return err
	}
	if request.URL.Path != "/events" {
		_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return errors.Join(err, conn.Close())
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	joined := bareConn{Conn: conn}
	if err := raw.Control(func(fd uintptr) { joined.fd = int(fd) }); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left {
		return net.ErrClosed
	}
	// Under the lock, for an event must not come before.
	if _, err := io.WriteString(conn, bareHead); err != nil {
		return err
	}
	b.conns = append(b.conns, joined)
	return nil
}

// send writes a row to all, as an event of about Outcrier's size.
func (b *bareServer) send(r row) error {
	frame := fmt.Appendf(nil, "id: %d\nevent: %s\n"+
		`data: {"specversion":"1.0","id":"%[1]d","source":"/","type":"%s","topic":"%s","time":"%s","datacontenttype":"application/json","data":%s}`+"\n\n",
		r.id, r.kind, r.topic, r.createdAt.UTC().Format(time.RFC3339Nano), r.payload)
	b.mu.Lock()
	defer b.mu.Unlock()
	staying := b.conns[:0]
	for _, conn := range b.conns {
		if n, err := syscall.Write(conn.fd, frame); err != nil || n < len(frame) {
			_ = conn.Close()
			continue
		}
		staying = append(staying, conn)
	}
	clear(b.conns[len(staying):])
	b.conns = staying
	return nil
}

// leave closes all connections, and those that are about to join.
func (b *bareServer) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = true
	for _, conn := range b.conns {
		_ = conn.Close()
	}
}
