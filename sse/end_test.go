package sse

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/sse/wire"
)

// A stream that has much to write to a slow reader ends when it is to end, and not
// when all is written: in a replay, and when it lags with batches.
func TestStream_EndsInTheMiddleOfMuch(t *testing.T) {
	expired := &wire.Goodbye{Reason: "token_expired", Text: "the token has expired"}
	for name, end := range map[string]func(*server, *client){
		"expired": func(_ *server, c *client) { c.expire(expired) },
		"drain":   func(s *server, _ *client) { s.Drain() },
	} {
		for what, request := range map[string]Request{
			"replay":  {From: From{Earliest: true}},
			"batches": {From: From{Earliest: true}, Batch: time.Second},
			"lagging": {Batch: time.Second},
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *server) {
					const pace = 10 * time.Second
					w := &response{}
					if what != "lagging" {
						s.commit("a", 2500)
						w.pace = pace
					}
					c := s.openOn(t, w, request)
					if what == "lagging" {
						w.mu.Lock()
						w.pace = pace
						w.mu.Unlock()
						s.commit("a", 2500)
					}
					time.Sleep(4*pace + pace/2)
					end(s, c)
					began := time.Now()
					why := <-c.ended
					if !errors.Is(why, ErrDraining) && !errors.Is(why, expired) {
						t.Errorf("it ended with %v", why)
					}
					if took := time.Since(began); took > s.DrainTime+3*pace {
						t.Errorf("it ended after %v", took)
					}
					events := c.next()
					if last := events[len(events)-1]; last.Type != "outcrier.goodbye" {
						t.Errorf("the last of %d events is %+v", len(events), last)
					}
				})
			})
		}
	}
}

// A reader who takes nothing holds the end of a stream no longer than goodbyeTime, nor
// that of the server: in a replay, and live.
func TestStream_EndsInTheMiddleOfAWrite(t *testing.T) {
	expired := &wire.Goodbye{Reason: "token_expired", Text: "the token has expired"}
	for _, replay := range []bool{false, true} {
		for _, stopped := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(0)
				s.parks = true
				ctx, stop := context.WithCancelCause(context.Background())
				running := make(chan error)
				go func() { running <- s.run(ctx, nil) }()
				synctest.Wait()
				w, request := &response{}, Request{}
				if replay {
					s.commit("a", 4000)
					w.blocked, request.From = make(chan struct{}), From{Earliest: true}
				}
				c := s.openOn(t, w, request)
				w.mu.Lock()
				w.blocked = make(chan struct{})
				w.mu.Unlock()
				s.commit("a", 1)
				time.Sleep(s.Stall / 2)
				began, want := time.Now(), error(expired)
				if stopped {
					stop(errStopped)
					want = ErrLeft
				} else {
					c.expire(expired)
				}
				why := <-c.ended
				if took := time.Since(began); !errors.Is(why, want) && !errors.Is(why, errStopped) || took > goodbyeTime {
					t.Errorf("replay %v: it ended after %v with %v", replay, took, why)
				}
				if n := s.Stats().Ended["stalled"]; n > 0 {
					t.Errorf("it is counted as stalled")
				}
				stop(errStopped)
				<-running //nolint:errcheck // other tests look at it
				if took := time.Since(began); took > goodbyeTime+time.Second {
					t.Errorf("the server ended after %v", took)
				}
			})
		}
	}
}

// Nor does one hold it who takes the write that was under way, and not the goodbye.
func TestStream_WaitsNoLongerForItsGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(0)
		s.parks = true
		ctx, stop := context.WithCancelCause(context.Background())
		running := make(chan error)
		go func() { running <- s.run(ctx, nil) }()
		synctest.Wait()
		s.commit("a", 4000)
		under := make(chan struct{})
		w := &response{most: openingBytes, blocked: under}
		c := s.openOn(t, w, Request{From: From{Earliest: true}})
		began := time.Now()
		c.expire(&wire.Goodbye{Reason: "token_expired", Text: "the token has expired"})
		time.Sleep(goodbyeTime / 2)
		w.mu.Lock()
		w.blocked = make(chan struct{})
		w.mu.Unlock()
		close(under)
		why := <-c.ended
		if took := time.Since(began); took != goodbyeTime/2+goodbyeTime {
			t.Errorf("it ended after %v with %v", took, why)
		}
		stop(errStopped)
		<-running //nolint:errcheck // other tests look at it
	})
}
