package sse

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
)

// forked is a database that has lost the commits 4 and 5 to a failover, while the
// server's tail is still past them. Since then transaction 4 has begun again and is
// open, and 5 and 6 have committed.
func forked(s *server) (lost, now position.Position) {
	for range 5 {
		s.commit("a", 1)
	}
	lost = s.at
	now = position.Position{History: 1, EventID: 6, Given: position.Set{Max: 6, Except: []uint64{4}}, Anchor: position.Anchor{XID: 6, Hash: 66}}
	s.past.set(func() { s.past.events = s.past.events[:3] })
	for _, xid := range []uint64{5, 6} {
		s.store("a", 1)
		s.past.set(func() {
			last := &s.past.events[len(s.past.events)-1]
			last.XID, last.ID = xid, int64(xid)
		})
	}
	s.past.set(func() { s.past.apart = func(w position.Position) bool { return w.Anchor == lost.Anchor } })
	return lost, now
}

// failOver has the tail follow the new primary, where transaction 4 then commits.
func (s *server) failOver(now position.Position) {
	s.at = now
	s.Hub.Start(now)
	time.Sleep(4 * time.Second)
	to := now
	to.Given = position.Set{Max: 6}
	to.EventID = 7
	late := outbox.Event{ID: 7, XID: 4, Topic: "a", Type: "test.added", Source: "/", Payload: []byte("{}"), CreatedAt: epoch}
	s.past.set(func() { s.past.events = append(s.past.events, late) })
	s.Hub.Deliver(tail.Read{From: s.at, To: to, Events: []outbox.Event{late}, First: true, Last: true})
	s.at = to
}

// A stream that asks the new primary where it can start, while the tail's position is
// still one of the old primary's, waits for the tail: to join the two would take the
// open transaction for delivered.
func TestStream_WaitsForATailThatIsElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		from func(now position.Position) From
		want []string
	}{
		"who comes from another node": {func(now position.Position) From { return From{Position: sealed(now)} }, []string{"7"}},
		"who comes for the first time": {
			func(position.Position) From { return From{Earliest: true} }, []string{"1", "2", "3", "5", "6", "7"},
		},
		"since a time": {func(position.Position) From { return From{Since: epoch} }, []string{"1", "2", "3", "5", "6", "7"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				_, now := forked(s)
				c := s.open(t, Request{From: test.from(now)})
				time.Sleep(10 * time.Second)
				if got := c.next(); len(got) > 0 {
					t.Errorf("before the tail has moved: %+v", got)
				}
				s.failOver(now)
				got := c.next()
				if !slices.Equal(ids(got), test.want) {
					t.Errorf("given are %v, want %v", ids(got), test.want)
				}
				if n := s.Stats().Gaps[string(position.OtherHistory)]; n > 0 {
					t.Errorf("got a gap: %+v", got)
				}
			})
		})
	}
}

// So does a stream whose tail has started again, while the database that it asks is
// still the old one, which has the lost events.
func TestStream_WaitsForADatabaseThatIsElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.commit("a", 1)
		kept := s.at
		s.commit("a", 1)
		lost := s.at
		c := s.open(t, Request{From: From{Earliest: true}})
		c.next()
		s.past.set(func() { s.past.apart = func(w position.Position) bool { return w.Anchor == kept.Anchor } })
		s.at = kept
		s.Hub.Start(kept)
		time.Sleep(5 * time.Second)
		if got := c.next(); len(got) > 0 {
			t.Errorf("before the database is another: %+v", got)
		}
		s.past.set(func() {
			s.past.apart = nil
			s.past.gap = func(p position.Position) *position.Gap {
				if p.Anchor == lost.Anchor {
					return &position.Gap{Reason: position.OtherHistory}
				}
				return nil
			}
		})
		time.Sleep(4 * time.Second)
		if got := c.next(); len(got) != 1 || !strings.Contains(got[0].Data, `"resumed":"gap"`) {
			t.Errorf("then: %+v, want a gap", got)
		}
	})
}

// A poll is not answered meanwhile.
func TestPoll_FailsWhileTheTailIsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(0)
		_, now := forked(s)
		request := Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}, From: From{Position: sealed(now)}}
		if polled, err := s.Poll(t.Context(), request, 10, time.Second); err == nil {
			t.Errorf("answered with %+v", polled)
		}
		s.failOver(now)
		polled, err := s.Poll(t.Context(), request, 10, time.Second)
		if err != nil || len(polled.Events) != 1 {
			t.Errorf("then: %+v, %v", polled, err)
		}
	})
}

// Memory answers for the history that it is of, and no other.
func TestBuffer_ResumesBesideItsOwnHistoryOnly(t *testing.T) {
	s := newServer(0)
	lost, now := forked(s)
	if _, ok := s.Hub.Buffer.Resumes(lost, lost); !ok {
		t.Error("a position of its own is not known")
	}
	s.Hub.Start(now)
	if _, ok := s.Hub.Buffer.Resumes(now, lost); ok {
		t.Error("a new position is joined to the old history")
	}
}
