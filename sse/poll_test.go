package sse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/wire"
)

// polled is an answer, and how long it took.
type polled struct {
	ids      []string
	position string
	gap      *wire.Gap
	text     string
	took     time.Duration
	err      error
}

func (s *server) poll(from From, limit int, wait time.Duration) polled {
	began := time.Now()
	answer, err := s.Poll(context.Background(), Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}, From: from}, limit, wait)
	p := polled{position: answer.Position, gap: answer.Gap, text: string(bytes.Join(answer.Parts(), nil)), took: time.Since(began), err: err}
	for _, raw := range answer.Events {
		var e struct{ ID string }
		if err := json.Unmarshal(raw, &e); err != nil {
			p.err = err
		}
		p.ids = append(p.ids, e.ID)
	}
	return p
}

func TestPoll_AnswersAtOnceOrWhenThereIsSomethingOrWhenTheWaitIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(-1)
		start := From{Position: sealed(s.at)}
		if p := s.poll(start, 10, 0); p.err != nil || len(p.ids) > 0 || p.took > 0 || p.position == "" {
			t.Errorf("no wait: %+v", p)
		}
		if p := s.poll(start, 10, 25*time.Second); p.err != nil || len(p.ids) > 0 || p.took != 25*time.Second {
			t.Errorf("nothing within the wait: %+v", p)
		}
		go func() {
			time.Sleep(7 * time.Second)
			s.commit("a", 2)
		}()
		p := s.poll(start, 10, 25*time.Second)
		synctest.Wait()
		if p.err != nil || !slices.Equal(p.ids, numbers(1, 2)) && !slices.Equal(p.ids, numbers(1, 1)) || p.took != 7*time.Second {
			t.Errorf("something within the wait: %+v", p)
		}
		if p := s.poll(start, 10, 25*time.Second); p.err != nil || !slices.Equal(p.ids, numbers(1, 2)) || p.took > 0 {
			t.Errorf("something already: %+v", p)
		}
		// Events on other topics keep the position up to date.
		s.commit("elsewhere", 3)
		if p := s.poll(From{Position: sealed(after(outbox.Event{ID: 2, XID: 1}))}, 10, 0); p.err != nil || len(p.ids) > 0 || p.position != sealed(s.at) {
			t.Errorf("nothing on the topic: %+v, want position %s", p, s.at)
		}
	})
}

func TestPoll_PositionsChainWithoutLossOrRepeat(t *testing.T) {
	for _, limit := range []int{1, 2, 7, 500} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(-1)
			s.Hub.QueueFrames = 3
			at := sealed(s.at)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range 30 {
					s.commit("a", 5)
					time.Sleep(time.Second)
				}
			}()
			var got []string
			for len(got) < 150 {
				p := s.poll(From{Position: at}, limit, 10*time.Second)
				if p.err != nil || len(p.ids) > limit || len(p.ids) == 0 {
					t.Fatalf("%+v", p)
				}
				got, at = append(got, p.ids...), p.position
			}
			<-done
			if !slices.Equal(got, numbers(1, 150)) {
				t.Errorf("by %d: %v", limit, got)
			}
			if p := s.poll(From{Position: at}, limit, time.Second); p.err != nil || len(p.ids) > 0 {
				t.Errorf("behind the last: %+v", p)
			}
		})
	}
}

func TestPoll_TellsGapsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(-1)
		at := sealed(after(s.commit("a", 2)[1]))
		s.commit("a", 1)
		for reason, test := range map[position.Reason]struct {
			from string
			ids  []string
		}{
			position.Malformed: {"x", nil}, position.Ahead: {at, nil}, position.OtherHistory: {at, nil}, position.Trimmed: {at, numbers(3, 3)},
		} {
			s.past.gap = func(position.Position) *position.Gap { return &position.Gap{Reason: reason, Since: epoch} }
			p := s.poll(From{Position: test.from}, 10, time.Minute)
			if p.err != nil || p.gap == nil || p.gap.Reason != reason || p.gap.Action != "refetch" || !p.gap.Since.Equal(epoch) || p.took > 0 {
				t.Errorf("%s: %+v", reason, p)
			}
			if !slices.Equal(p.ids, test.ids) || p.position != sealed(s.at) {
				t.Errorf("%s: then come %v and position %s, want %v and %s", reason, p.ids, p.position, test.ids, s.at)
			}
		}
	})
}

func TestPoll_EndsWithDrainDatabaseAndReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(-1)
		gone := errors.New("gone")
		s.past.err = gone
		if p := s.poll(From{Earliest: true}, 10, time.Minute); !errors.Is(p.err, gone) {
			t.Errorf("without a database: %+v", p)
		}
		s.past.err = nil
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			time.Sleep(time.Second)
			cancel(gone)
		}()
		if _, err := s.Poll(ctx, Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}}, 1, time.Minute); !errors.Is(err, gone) {
			t.Errorf("without a reader: %v", err)
		}
		go func() {
			time.Sleep(time.Second)
			s.Drain()
		}()
		if p := s.poll(From{}, 10, time.Minute); p.err != nil || p.took != time.Second || p.position == "" {
			t.Errorf("a drain within the wait: %+v", p)
		}
		if n := s.Hub.Subscriptions() + s.Open(); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

func TestPolled_KeepsPayloadsByteForByte(t *testing.T) {
	p := Polled{Events: []json.RawMessage{json.RawMessage("{ \"a\":1.0,\r\n\"a\":\"<\u2028>\" }"), json.RawMessage(`[]`)}, Position: `1."`, Gap: nil}
	want := "{\"events\":[{ \"a\":1.0,\r\n\"a\":\"<\u2028>\" },[]],\"position\":\"1.\\\"\",\"gap\":null}"
	if got := string(bytes.Join(p.Parts(), nil)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
