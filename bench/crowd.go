package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// crowd is any number of streams, each with a connection and a goroutine of its
// own.
type crowd struct {
	endpoint *endpoint
	streams  []*stream
	// patience is how long await waits for the next event.
	patience time.Duration
	// laggard is where the last look for target ended: all before it have come
	// that far.
	target  int64
	laggard int

	following sync.WaitGroup

	mu sync.Mutex
	// dropping says that ends are wanted.
	dropping bool
	// err is why the first stream ended that should not have.
	err error
}

// newCrowd is n streams, not open yet: the i-th follows topic(i), and seen is called for
// each event that they receive. seen may be nil.
func newCrowd(e *endpoint, n int, topic func(i int) string, seen func(mark, time.Duration)) *crowd {
	c := &crowd{endpoint: e, patience: awaitLimit}
	for i := range n {
		c.streams = append(c.streams, &stream{topic: topic(i), seen: seen})
	}
	return c
}

// dialsAtOnce is less than the 4,096 connections that Linux keeps for a server
// until it accepts them. Those beyond wait for a second and more, which is the
// kernel's time and not the server's.
const dialsAtOnce = 1000

// openLimit is how long a crowd may take until all its streams are live.
const openLimit = 2 * time.Minute

// open opens all streams at once, each from where it was, and returns when all are
// live. They stay open until drop.
func (c *crowd) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, openLimit, fmt.Errorf("not all streams are live after %v", openLimit))
	defer cancel()
	c.mu.Lock()
	c.dropping = false
	c.mu.Unlock()
	dials := make(chan struct{}, dialsAtOnce)
	opened := make(chan error, 2*len(c.streams)) // that a stream is live, and its end
	for i, s := range c.streams {
		c.following.Go(func() {
			tell := sync.OnceFunc(func() { opened <- nil })
			err := c.run(ctx, i, s, dials, tell)
			c.note(err)
			opened <- err
		})
	}
	for range c.streams {
		select {
		case err := <-opened:
			if err != nil {
				c.drop()
				return err
			}
		case <-ctx.Done():
			c.drop()
			return context.Cause(ctx)
		}
	}
	return nil
}

func (c *crowd) run(ctx context.Context, i int, s *stream, dials chan struct{}, live func()) error {
	select {
	case dials <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	conn, err := c.endpoint.connect(ctx, i)
	<-dials
	if err != nil {
		return fmt.Errorf("connect a stream: %w", err)
	}
	defer conn.Close()
	if !c.hold(s, conn) {
		return nil
	}
	if _, err := conn.Write(c.endpoint.request(s.topic, string(s.id))); err != nil {
		return fmt.Errorf("ask for a stream: %w", err)
	}
	return s.follow(conn, live)
}

// hold keeps the connection for drop, unless that was faster.
func (c *crowd) hold(s *stream, conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.conn = conn
	return !c.dropping
}

func (c *crowd) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dropping && c.err == nil {
		c.err = err
	}
}

// drop closes all connections at once and waits until all readers have ended.
func (c *crowd) drop() {
	c.mu.Lock()
	c.dropping = true
	for _, s := range c.streams {
		if s.conn != nil {
			_ = s.conn.Close()
		}
	}
	c.mu.Unlock()
	c.following.Wait()
}

// has reports whether every stream has come as far as target, the sum over all writers that
// it follows. It is called often, and so first checks the stream that was behind the last
// time.
func (c *crowd) has(target int64) bool {
	if target != c.target {
		c.target, c.laggard = target, 0
	}
	for ; c.laggard < len(c.streams); c.laggard++ {
		if c.streams[c.laggard].tally.reached.Load() < target {
			return false
		}
	}
	return true
}

// awaitLimit is how long a crowd may take for its next event.
const awaitLimit = 30 * time.Second

// await waits until every stream has come as far as target, for as long as any events come.
// Events that are missing when none has come for the crowd's patience count as lost.
func (c *crowd) await(ctx context.Context, target int64) (missing int64, err error) {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	given, progress := c.count().Deliveries, time.Now()
	for n := 1; !c.has(target); n++ {
		select {
		case <-look.C:
			if err := c.broken(); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		if n%50 > 0 {
			continue // to count is not free
		}
		switch now := c.count().Deliveries; {
		case now != given:
			given, progress = now, time.Now()
		case time.Since(progress) > c.patience:
			return c.missing(target), nil
		}
	}
	return 0, nil
}

// missing is how many events streams are short of target.
func (c *crowd) missing(target int64) (n int64) {
	for _, s := range c.streams {
		n += max(0, target-s.tally.reached.Load())
	}
	return n
}

// broken is why a stream ended that should not have.
func (c *crowd) broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// count returns what all streams have received so far.
func (c *crowd) count() (total Count) {
	for _, s := range c.streams {
		total.add(s.tally.count())
	}
	return total
}
