// Package badnet is a TCP proxy that does to connections what networks do: it
// cuts, delays, holds and truncates them. Tests put it between a server and its
// database, and between a client and the server.
package badnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction is one of the two that bytes go in. Up and Down can be joined by "|".
type Direction uint8

const (
	// Up is from the client to the server: from the end that connected to the proxy.
	Up Direction = 1 << iota
	// Down is the way back.
	Down

	Both = Up | Down
)

// Proxy passes connections on to an address. All its methods may be called at any
// time by any goroutine.
type Proxy struct {
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	to     string
	now    weather
	change chan struct{} // closed when now is another
	closed bool
	links  map[*link]struct{}
}

// weather is what happens to bytes.
type weather struct {
	down  bool
	held  Direction
	delay time.Duration
	limit map[Direction]int // of new connections
}

// link is one connection and its other half.
type link struct {
	client, server *net.TCPConn
	// left is how many bytes may pass in a direction until the end; none are
	// counted where it has no entry. Guarded by the proxy's mutex.
	left map[Direction]int
	// forgotten holds both directions for good.
	forgotten bool
}

// Listen starts a proxy on a free port of loopback that passes connections on to
// an address, host:port. The caller must Close it.
func Listen(to string) (*Proxy, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &Proxy{listener: listener, to: to, change: make(chan struct{}), links: map[*link]struct{}{}}
	p.running.Go(p.accept)
	return p, nil
}

// Address is where the proxy listens, host:port.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// To passes the connections that are yet to come on to another address.
func (p *Proxy) To(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = address
}

// Cut resets all open connections and returns their number. Bytes on their way are lost.
func (p *Proxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.links)
	for l := range p.links {
		l.reset()
		delete(p.links, l)
	}
	close(p.change) // for those who wait
	p.change = make(chan struct{})
	return n
}

// Down resets all connections, and each new one at once, until Heal.
func (p *Proxy) Down() {
	p.set(func(w *weather) { w.down = true })
	p.Cut()
}

// Delay has every piece of up to 32 kB wait before it is passed on, until Heal.
func (p *Proxy) Delay(by time.Duration) { p.set(func(w *weather) { w.delay = by }) }

// Hold lets nothing pass in a direction until Heal, without telling either end: with Both a
// black hole, else one half of it. Connections are still accepted. Held bytes arrive after
// Heal, as retransmitted ones do.
func (p *Proxy) Hold(d Direction) { p.set(func(w *weather) { w.held |= d }) }

// Forget lets nothing pass any more on the connections that there are, and tells
// neither end, as a firewall does that has lost track of them. New ones are well.
// Heal does not bring them back.
func (p *Proxy) Forget() {
	p.set(func(*weather) {
		for l := range p.links {
			l.forgotten = true
		}
	})
}

// Truncate lets each connection, until Heal new ones too, pass n bytes more in a
// direction and then ends it, in the middle of whatever that is.
func (p *Proxy) Truncate(d Direction, n int) {
	p.set(func(w *weather) {
		w.limit = map[Direction]int{}
		for _, one := range []Direction{Up, Down} {
			if d&one == 0 {
				continue
			}
			w.limit[one] = n
			for l := range p.links {
				l.left[one] = n
			}
		}
	})
}

// Heal ends what the other methods began. Connections that were cut stay so.
func (p *Proxy) Heal() {
	p.set(func(w *weather) {
		*w = weather{}
		for l := range p.links {
			clear(l.left)
		}
	})
}

// Open is how many connections there are.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Close ends the proxy and all its connections.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Heal()
	p.Cut()
	p.running.Wait()
}

func (p *Proxy) set(change func(*weather)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.now)
	close(p.change)
	p.change = make(chan struct{})
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.running.Go(func() { p.join(conn.(*net.TCPConn)) })
		}
	}
}

// join passes bytes both ways until either end hangs up.
func (p *Proxy) join(client *net.TCPConn) {
	l := &link{client: client, left: map[Direction]int{}}
	defer client.Close()
	p.mu.Lock()
	to := p.to
	p.mu.Unlock()
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", to)
	if err != nil {
		_ = client.SetLinger(0) // the client is gone
		return
	}
	defer server.Close()
	l.server = server.(*net.TCPConn)
	p.mu.Lock()
	for d, n := range p.now.limit {
		l.left[d] = n
	}
	refused := p.now.down || p.closed
	if !refused {
		p.links[l] = struct{}{}
	}
	p.mu.Unlock()
	if refused {
		l.reset()
		return
	}
	var passing sync.WaitGroup
	passing.Go(func() { p.pass(l, Up, l.server, client) })
	p.pass(l, Down, client, l.server)
	passing.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// reset ends both halves as a router does that has lost them.
func (l *link) reset() {
	for _, conn := range []*net.TCPConn{l.client, l.server} {
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}

// pass copies one direction until it ends, and ends the other with it.
func (p *Proxy) pass(l *link, d Direction, to, from *net.TCPConn) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		n, whole := p.admit(l, d, n)
		if _, failed := to.Write(buf[:n]); failed != nil || err != nil || !whole {
			return
		}
	}
}

// admit waits until up to n bytes may pass. It returns how many of them do, and whether
// more may pass after them.
func (p *Proxy) admit(l *link, d Direction, n int) (pass int, whole bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if delay := p.now.delay; delay > 0 && n > 0 {
		p.wait(time.After(delay))
	}
	for (p.now.held&d != 0 || l.forgotten) && !p.closed {
		if _, there := p.links[l]; !there {
			break
		}
		p.wait(nil)
	}
	left, limited := l.left[d]
	if !limited {
		return n, true
	}
	pass = min(n, left)
	l.left[d] = left - pass
	return pass, left > pass
}

// wait gives the lock up until the weather is another, or until done.
func (p *Proxy) wait(done <-chan time.Time) {
	change := p.change
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-change:
	case <-done:
	}
}
