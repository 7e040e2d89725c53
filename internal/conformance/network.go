package conformance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// network stands between a client and the server, and does to its connections what
// networks, crashes and proxies do. The client speaks HTTP/1.1 with it, the server may
// want TLS. All its methods may be called at any time by any goroutine.
type network struct {
	address string
	running sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener
	server   *url.URL
	answer   string // in place of the server's, when not empty
	answered int    // how many requests had an answer in place of the server's
	links    map[*link]struct{}
	// cut, when not nil, is where the connection breaks that the event comes by.
	cut *cut
}

// link is one connection of a client, and its other half.
type link struct {
	client *net.TCPConn
	server net.Conn
	// socket is set when it has become a WebSocket.
	socket atomic.Bool
}

// cut is a place in an event.
type cut struct {
	// mark is in the event's data.
	mark []byte
	// at returns how many bytes of the event still pass: event is the whole block from
	// the line with the mark on, with its blank line.
	at func(event []byte) int
	// reset has the connection reset, and not closed.
	reset bool
}

// newNetwork starts a network in front of a server, http://host:port or https. The
// caller must call close.
func newNetwork(server *url.URL) (*network, error) {
	n := &network{server: server, links: map[*link]struct{}{}, address: "127.0.0.1:0"}
	return n, n.listen()
}

// listen accepts connections, after refuse too.
func (n *network) listen() error {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", n.address)
	if err != nil {
		return fmt.Errorf("listen for clients: %w", err)
	}
	n.mu.Lock()
	n.listener, n.address = listener, listener.Addr().String()
	n.mu.Unlock()
	n.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				n.running.Go(func() { n.serve(conn.(*net.TCPConn)) })
			}
		}
	})
	return nil
}

// refuse closes the port: a client that connects is refused, until listen.
func (n *network) refuse() {
	n.mu.Lock()
	listener := n.listener
	n.mu.Unlock()
	_ = listener.Close()
}

// to passes the connections that are yet to come on to another server.
func (n *network) to(server *url.URL) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.server = server
}

// answerBy has each request answered by a text in place of the server's response, until
// answerBy("").
func (n *network) answerBy(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answer, n.answered = text, 0
}

// hasAnswered reports whether a request was answered since answerBy.
func (n *network) hasAnswered() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.answered > 0
}

// reset resets all connections.
func (n *network) reset() { n.end(true) }

// hangup closes all connections, as the kernel does for a process that was killed: no
// last chunk comes.
func (n *network) hangup() { n.end(false) }

func (n *network) end(reset bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.links {
		l.end(reset)
	}
}

// cutIn has the connection break that brings the next event with the mark.
func (n *network) cutIn(c *cut) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = c
}

// isCut reports whether the cut that cutIn asked for has happened.
func (n *network) isCut() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut == nil
}

// close ends all connections and waits for their end.
func (n *network) close() {
	n.refuse()
	n.reset()
	n.running.Wait()
}

func (l *link) end(reset bool) {
	if reset {
		_ = l.client.SetLinger(0)
	}
	_ = l.client.Close()
	_ = l.server.Close()
}

// serve passes requests on, and the response back.
func (n *network) serve(client *net.TCPConn) {
	defer client.Close()
	n.mu.Lock()
	to, answer := n.server, n.answer
	n.mu.Unlock()
	requests := bufio.NewReader(client)
	if answer != "" {
		if _, err := http.ReadRequest(requests); err == nil {
			_, _ = io.WriteString(client, answer)
			n.mu.Lock()
			n.answered++
			n.mu.Unlock()
		}
		return
	}
	server, err := dial(to)
	if err != nil {
		_ = client.SetLinger(0) // as a closed port does
		return
	}
	defer server.Close()
	l := &link{client: client, server: server}
	n.mu.Lock()
	n.links[l] = struct{}{}
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		delete(n.links, l)
		n.mu.Unlock()
	}()

	var up sync.WaitGroup
	up.Go(func() {
		defer server.Close() // the client has left
		for {
			request, err := http.ReadRequest(requests)
			if err != nil {
				return
			}
			request.Host = to.Host
			l.socket.Store(strings.EqualFold(request.Header.Get("Upgrade"), "websocket"))
			if request.Write(server) != nil {
				return
			}
			if l.socket.Load() {
				_, _ = io.Copy(server, requests) // until either end hangs up
				return
			}
		}
	})
	n.down(l)
	_ = client.Close()
	up.Wait()
}

func dial(to *url.URL) (net.Conn, error) {
	address := to.Host
	if to.Port() == "" {
		address = net.JoinHostPort(to.Hostname(), map[string]string{"http": "80", "https": "443"}[to.Scheme])
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if to.Scheme == "https" {
		return tls.DialWithDialer(dialer, "tcp", address, &tls.Config{NextProtos: []string{"http/1.1"}}) //nolint:noctx // it has a timeout
	}
	return dialer.DialContext(context.Background(), "tcp", address)
}

// down passes the response on until one end hangs up, or to where it is cut.
func (n *network) down(l *link) {
	var held []byte // of an event that is to be cut, from the line with the mark on
	for buf := make([]byte, 64<<10); ; {
		read, err := l.server.Read(buf)
		n.mu.Lock()
		c := n.cut
		n.mu.Unlock()
		piece := buf[:read]
		if c != nil {
			held = append(held, piece...)
			piece = held
			if start := bytes.Index(held, c.mark); start >= 0 {
				event := eventAt(held, start)
				if l.socket.Load() {
					event = messageAt(held, start)
				}
				if event.text == nil && err == nil {
					continue // until the event is whole
				}
				if event.text != nil {
					passes := event.start + c.at(event.text)
					_, _ = l.client.Write(held[:passes])
					l.end(c.reset)
					n.cutIn(nil)
					return
				}
			}
			held = nil
		}
		if _, wrong := l.client.Write(piece); err != nil || wrong != nil {
			return
		}
	}
}

// found is an event among the bytes of a stream: where it begins, and its text, nil if it is
// not whole.
type found struct {
	start int
	text  []byte
}

// eventAt is the event with the byte at a place, from its line on.
func eventAt(held []byte, at int) found {
	start := bytes.LastIndexByte(held[:at], '\n') + 1
	length := bytes.Index(held[start:], []byte("\n\n"))
	if length < 0 {
		return found{start: start}
	}
	return found{start, held[start : start+length+len("\n\n")]}
}

// messageAt is the message of a WebSocket with the byte at a place. Its text has line breaks
// where places looks for those of an event: the message is cut in its middle, near its end,
// and before its last byte.
func messageAt(held []byte, at int) found {
	start := max(0, bytes.LastIndex(held[:at], []byte(`{"position":`)))
	length := bytes.Index(held[start:], []byte("}}}"))
	if length < 0 {
		return found{start: start}
	}
	text := bytes.Repeat([]byte("."), length+len("}}}"))
	text[len(text)/2] = '\n'
	copy(text[len(text)-2:], "\n\n")
	return found{start, text}
}
