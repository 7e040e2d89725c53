package sse

import (
	"testing"
	"testing/synctest"
	"time"
)

// A reader that takes nothing is slow from two seconds on, and until it takes something
// again; one that keeps up never is.
func TestSlow_NamesReadersThatKeepAWriteWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		quick, slow := s.open(t, Request{Number: 1}), s.open(t, Request{Number: 2})
		quick.next()
		slow.next()
		synctest.Wait()
		blocked := make(chan struct{})
		slow.response.mu.Lock()
		slow.response.blocked = blocked
		slow.response.mu.Unlock()
		s.commit("a", 1)
		synctest.Wait()
		if got := s.Slow(2*time.Second, 10); len(got) != 0 {
			t.Errorf("at once: %+v", got)
		}
		time.Sleep(3 * time.Second) // of the bubble's clock
		synctest.Wait()
		if got := s.Slow(2*time.Second, 10); len(got) != 1 || got[0].Number != 2 || got[0].For < 2*time.Second || got[0].For > 4*time.Second {
			t.Errorf("after three seconds: %+v", got)
		}
		if got := s.Slow(2*time.Second, 0); len(got) != 0 {
			t.Errorf("of at most none: %+v", got)
		}
		slow.response.mu.Lock()
		slow.response.blocked = nil
		slow.response.mu.Unlock()
		close(blocked)
		slow.wantIDs(numbers(1, 1)...)
		quick.wantIDs(numbers(1, 1)...)
		synctest.Wait()
		if got := s.Slow(2*time.Second, 10); len(got) != 0 {
			t.Errorf("when it has taken it: %+v", got)
		}
	})
}
