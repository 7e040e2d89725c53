package sse

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// Of a stream that stays open its record is kept up to date, and what was in a
// write that failed is not noted as sent; by goroutines and by the crew alike.
func TestRecord_FollowsWhatIsWritten(t *testing.T) {
	inBubbleWith(t, 0, func(t *testing.T, s *server) {
		audit := &outbox.Audit{}
		var record *outbox.StreamRecord
		c := s.open(t, Request{Record: func(from outbox.Position) *outbox.StreamRecord {
			record = audit.Opened(outbox.StreamOpened{From: from})
			return record
		}})
		s.commit("a", 1)
		synctest.Wait()
		time.Sleep(noteEvery + time.Second)
		s.commit("a", 2)
		synctest.Wait()
		if n, last := record.Sent(); n != 3 || last != 3 {
			t.Errorf("of an open stream %d events are noted, the last is %d; it was sent 3", n, last)
		}
		time.Sleep(noteEvery + time.Second)
		c.wire.mu.Lock()
		gone := errors.New("gone")
		c.wire.err = gone
		c.wire.mu.Unlock()
		s.commit("a", 1)
		if why := <-c.ended; !errors.Is(why, gone) {
			t.Errorf("it ended with %v", why)
		}
		if n, last := record.Sent(); n != 3 || last != 3 {
			t.Errorf("after a write that failed %d events are noted, the last is %d; 3 were sent", n, last)
		}
	})
}
