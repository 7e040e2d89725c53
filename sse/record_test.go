package sse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
)

// records is an audit, and the records that it must have written of its streams: from
// which position, to which, how many events, the last of them, and why it ended.
type records struct {
	audit.Recorder
	want []string
}

func (r *records) begin(from position.Position, _ outbox.Filter) *audit.StreamRecord {
	return r.Opened(audit.Stream{From: from})
}

func (r *records) expect(from, to position.Position, events int, last int64, why string) {
	r.want = append(r.want, fmt.Sprintln(sealed(from), sealed(to), events, last, why))
}

// check writes, outside of any bubble.
func (r *records) check(t *testing.T) {
	t.Helper()
	r.Keys = testKeys
	r.Pool, r.Log = outboxtest.New(t), slog.New(slog.NewTextHandler(t.Output(), nil))
	ended, end := context.WithCancel(t.Context())
	end()
	_ = r.Run(ended) // it writes what there is
	rows, err := r.Pool.Query(t.Context(), `SELECT from_position, position, events, last_event, end_reason || CASE WHEN (sure_set).max_xid IS NULL THEN '' ELSE ', perhaps from ' || (sure_set).event_id END FROM outcrier.stream ORDER BY stream`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var from, to, why string
		var events, last int64
		if err := rows.Scan(&from, &to, &events, &last, &why); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintln(from, to, events, last, why))
	}
	if err := rows.Err(); err != nil || !slices.Equal(got, r.want) {
		t.Errorf("on record are\n%vwant\n%v(%v)", got, r.want, err)
	}
}

// The record of an open stream is kept up to date, and the events of a write that
// failed count as perhaps sent; by goroutines and by the pool alike.
func TestRecord_FollowsWhatIsWritten(t *testing.T) {
	recorder := &records{}
	inBubbleWith(t, 0, func(t *testing.T, s *server) {
		from := s.at
		c := s.open(t, Request{Record: recorder.begin})
		s.commit("a", 1)
		synctest.Wait()
		time.Sleep(noteEvery + time.Second)
		s.commit("a", 2)
		synctest.Wait()
		time.Sleep(noteEvery + time.Second)
		c.response.mu.Lock()
		gone := errors.New("gone")
		c.response.err = gone
		c.response.mu.Unlock()
		s.commit("a", 1)
		if why := <-c.ended; !errors.Is(why, gone) {
			t.Errorf("it ended with %v", why)
		}
		recorder.expect(from, s.at, 4, 4, "lost, perhaps from 3")
	})
	recorder.check(t)
}

// What a reader has taken but a part of when the server drains was perhaps sent.
func TestRecord_OfWhatADrainDroppedSaysPerhaps(t *testing.T) {
	recorder := &records{}
	inBubbleWith(t, 0, func(t *testing.T, s *server) {
		if !s.parks {
			return // the others wait for their readers
		}
		from := s.at
		c := s.open(t, Request{Record: recorder.begin})
		time.Sleep(noteEvery)
		s.commit("a", 1)
		synctest.Wait()
		c.response.mu.Lock()
		c.response.room, c.response.blocked = 17, make(chan struct{})
		c.response.mu.Unlock()
		s.pool.all()[0].state.Or(callDrain)
		s.commit("a", 1)
		if why := <-c.ended; !errors.Is(why, ErrDraining) {
			t.Errorf("it ended with %v", why)
		}
		recorder.expect(from, s.at, 2, 2, "drain, perhaps from 1")
	})
	recorder.check(t)
}

// A reader that gets a gap has no receipts for the events in it: a stream, and a poll
// whose replay is overtaken.
func TestRecord_LeavesOutWhatAGapJumpsOver(t *testing.T) {
	recorder := &records{}
	lost := func(position.Position) *position.Gap { return &position.Gap{Reason: position.OtherHistory} }
	fromTable(t, func(t *testing.T, s *server) {
		c := s.open(t, Request{Record: recorder.begin})
		s.commit("a", 1)
		synctest.Wait()
		// A failover has lost commits, and the history goes on.
		s.past.set(func() { s.past.gap = lost })
		s.at = after(outbox.Event{ID: 7, XID: 9})
		s.Hub.Start(s.at)
		c.next()
		behind := s.at
		s.tail(outbox.Event{ID: 8, XID: 10, Topic: "a", Type: "test.added", CreatedAt: epoch})
		c.next()
		recorder.expect(behind, s.at, 2, 8, "left")
		_ = c.end()
	})
	synctest.Test(t, func(t *testing.T) {
		s := newServer(-1)
		s.commit("a", 3)
		behind := s.at
		s.past.replay = func(replay.Range) error {
			s.past.gap = lost
			s.tail(outbox.Event{ID: 8, XID: 10, Topic: "a", Type: "test.added", CreatedAt: epoch})
			return replay.ErrTrimmed
		}
		polled, err := s.Poll(t.Context(), Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}, From: From{Earliest: true}, Record: recorder.begin}, 10, 0)
		if err != nil || len(polled.Events) != 1 || polled.Gap == nil {
			t.Errorf("%d events, gap %v, %v", len(polled.Events), polled.Gap, err)
		}
		polled.Sending()(true)
		recorder.expect(behind, s.at, 1, 8, "polled")
	})
	recorder.check(t)
}
