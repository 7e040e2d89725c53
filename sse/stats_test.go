package sse

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/outbox/position"
)

// The counters equal the work done, by goroutines and by the pool alike.
func TestStats_CountWhatIsWritten(t *testing.T) {
	inBubbleWith(t, 0, func(t *testing.T, s *server) {
		first, second := s.open(t, Request{}), s.open(t, Request{})
		synctest.Wait()
		time.Sleep(time.Second)
		s.commit("a", 3)
		synctest.Wait()
		time.Sleep(time.Second)
		s.commit("a", 1)
		synctest.Wait()
		stats := s.Stats()
		if stats.Open != 2 || stats.Parked+stats.Current != 2 || stats.Events != 8 || stats.BufferEvents != 4 || stats.Queued != 0 {
			t.Errorf("%+v", stats)
		}
		var writes int64
		for _, n := range stats.Dispatch.Counts {
			writes += n
		}
		if writes != 4 || stats.Dispatch.Sum != 0 || stats.Writes < 4 || stats.Bytes == 0 {
			t.Errorf("of %d writes %d were of live events, within %v: want 4 that took no time", stats.Writes, writes, stats.Dispatch.Sum)
		}
		_ = first.end()
		third := s.open(t, Request{From: From{Position: "nonsense"}})
		synctest.Wait()
		stats = s.Stats()
		if stats.Open != 2 || stats.Ended["left"] != 1 || stats.Gaps[string(position.Malformed)] != 1 {
			t.Errorf("after one has left and one got a gap: %+v", stats)
		}
		_, _ = second, third
	})
}

func TestStats_TellReplaysApart(t *testing.T) {
	for where, buffer := range map[string]int{"memory": 0, "table": -1} {
		t.Run(where, func(t *testing.T) {
			inBubbleWith(t, buffer, func(t *testing.T, s *server) {
				s.commit("a", 5)
				s.open(t, Request{From: From{Earliest: true}})
				synctest.Wait()
				stats := s.Stats()
				want := map[string]int64{"memory": 0, "table": 0}
				want[where] = 5
				if stats.Memory.Events != want["memory"] || stats.Table.Events != want["table"] || stats.Replays != 1 || stats.Events != 5 {
					t.Errorf("%+v", stats)
				}
			})
		})
	}
}
