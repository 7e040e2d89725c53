package sse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/ssetest"
	"github.com/outcrier/outcrier/sse/wire"
)

func numbers(from, to int) []string {
	var list []string
	for n := from; n <= to; n++ {
		list = append(list, strconv.Itoa(n))
	}
	return list
}

// wantIDs checks the ids of the client's new events.
func (c *client) wantIDs(want ...string) {
	c.t.Helper()
	if got := ids(c.next()); !slices.Equal(got, want) {
		c.t.Errorf("given are %v, want %v", got, want)
	}
}

func hello(t *testing.T, e ssetest.Event) (h struct {
	Resumed                        any
	Position, Node, Reason, Action string
	Since                          time.Time
	Heartbeat                      int64
}) {
	t.Helper()
	if err := json.Unmarshal([]byte(e.Data), &h); err != nil || e.Type != "outcrier.hello" {
		t.Fatalf("%+v: %v", e, err)
	}
	if h.Position != e.ID || h.Node != "n1" {
		t.Errorf("hello %+v has id %s", h, e.ID)
	}
	return h
}

func TestStream_SaysHelloFirst(t *testing.T) {
	trimmed := &position.Gap{Reason: position.Trimmed, Since: epoch}
	for name, test := range map[string]struct {
		from    func(at position.Position) From
		gap     *position.Gap
		resumed any
		reason  position.Reason
		given   []string
		// at is the event of hello's position.
		at int
	}{
		"now":           {func(position.Position) From { return From{} }, nil, false, "", nil, 4},
		"earliest":      {func(position.Position) From { return From{Earliest: true} }, nil, false, "", numbers(1, 4), 0},
		"since":         {func(position.Position) From { return From{Since: epoch} }, nil, false, "", numbers(1, 4), 0},
		"resumed":       {func(at position.Position) From { return From{Position: sealed(at)} }, nil, true, "", numbers(3, 4), 2},
		"trimmed":       {func(at position.Position) From { return From{Position: sealed(at)} }, trimmed, "gap", position.Trimmed, numbers(3, 4), 2},
		"ahead":         {func(at position.Position) From { return From{Position: sealed(at)} }, &position.Gap{Reason: position.Ahead, Since: epoch}, "gap", position.Ahead, nil, 4},
		"other history": {func(at position.Position) From { return From{Position: sealed(at)} }, &position.Gap{Reason: position.OtherHistory}, "gap", position.OtherHistory, nil, 4},
		"malformed":     {func(position.Position) From { return From{Position: "x"} }, nil, "gap", position.Malformed, nil, 4},
	} {
		t.Run(name, func(t *testing.T) {
			fromTable(t, func(t *testing.T, s *server) {
				at := after(s.commit("a", 2)[1])
				s.commit("a", 2)
				s.past.gap = func(position.Position) *position.Gap { return test.gap }
				c := s.open(t, Request{From: test.from(at)})
				events := c.next()
				h := hello(t, events[0])
				if h.Resumed != test.resumed || h.Reason != string(test.reason) || (h.Action == "refetch") != (test.reason != "") {
					t.Errorf("%+v", h)
				}
				if want := s.Heartbeat.Milliseconds(); h.Heartbeat != want {
					t.Errorf("a heartbeat comes each %d ms, want %d", h.Heartbeat, want)
				}
				if want := test.reason != "" && test.reason != position.OtherHistory; h.Since.Equal(epoch) != want {
					t.Errorf("since %v", h.Since)
				}
				p, err := testKeys.Open(h.Position)
				if err != nil || p.EventID != int64(test.at) {
					t.Errorf("its position is event %d, %v", p.EventID, err)
				}
				if got := ids(events); !slices.Equal(got, test.given) {
					t.Errorf("given are %v, want %v", got, test.given)
				}
				if last := events[len(events)-1]; last.Type != "outcrier.live" || last.ID != sealed(s.at) {
					t.Errorf("behind the replay comes %+v", last)
				}
				s.commit("a", 1)
				c.wantIDs("5")
				if err := c.end(); !errors.Is(err, context.Canceled) && !errors.Is(err, ErrLeft) {
					t.Error(err)
				}
			})
		})
	}
}

// The first bytes leave before the hub has started.
func TestStream_IsOpenAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.Hub = newHub(s.Hub.Buffer)
		c := s.open(t, Request{})
		if _, p := c.parse(); len(p.Comments) == 0 {
			t.Errorf("sent is %q", c.response.text())
		}
		s.Hub.Start(s.at)
		synctest.Wait()
		s.commit("a", 1)
		if got := types(c.next()); !slices.Equal(got, []string{"outcrier.hello", "outcrier.live", "test.added"}) {
			t.Errorf("events %v", got)
		}
	})
}

func TestStream_RetryIsSpreadAndNeverZero(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		seen := map[time.Duration]bool{}
		for range 50 {
			_, p := s.open(t, Request{}).parse()
			if p.Retry < s.Retry/2 || p.Retry > s.Retry*3/2 {
				t.Errorf("retry %v", p.Retry)
			}
			seen[p.Retry] = true
		}
		if len(seen) < 10 {
			t.Errorf("50 streams have %d delays", len(seen))
		}
		s.Retry = 0
		if _, p := s.open(t, Request{}).parse(); p.Retry != time.Millisecond {
			t.Errorf("retry %v, want the smallest above 0", p.Retry)
		}
	})
}

func TestStream_HeartbeatsAndTellsWhenThePositionMoved(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		c := s.open(t, Request{})
		c.next()
		_, before := c.parse()
		time.Sleep(s.Heartbeat)
		_, p := c.parse()
		if events := c.next(); len(events) > 0 || len(p.Comments) != len(before.Comments)+1 {
			t.Errorf("when nothing happened it sends %v and %d comments", events, len(p.Comments)-len(before.Comments))
		}
		s.commit("elsewhere", 1)
		time.Sleep(s.Heartbeat)
		events := c.next()
		if len(events) != 1 || events[0] != (ssetest.Event{ID: sealed(s.at), Type: "outcrier.position", Data: "{}"}) {
			t.Errorf("when the position moved it sends %+v", events)
		}
		time.Sleep(3 * s.Heartbeat)
		if events := c.next(); len(events) > 0 {
			t.Errorf("the gap came a second time: %+v", events)
		}
		// Any byte is a heartbeat.
		time.Sleep(s.Heartbeat - time.Second)
		s.commit("a", 1)
		synctest.Wait()
		sent := len(c.response.sent)
		time.Sleep(s.Heartbeat - time.Second)
		synctest.Wait()
		if len(c.response.sent) != sent {
			t.Errorf("after an event comes too early: %q", c.response.sent[sent:])
		}
	})
}

func TestStream_DrainIsSpread(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		var clients []*client
		for range 40 {
			c := s.open(t, Request{})
			c.next()
			clients = append(clients, c)
		}
		began := time.Now()
		s.Drain()
		s.Drain()
		for _, c := range clients {
			if err := <-c.ended; !errors.Is(err, ErrDraining) {
				t.Error(err)
			}
			took := time.Since(began)
			if took > s.DrainTime {
				t.Errorf("a stream ended after %v", took)
			}
			if events := c.next(); len(events) != 1 || events[0].Type != "outcrier.goodbye" || events[0].Data != `{"reason":"drain"}` {
				t.Errorf("it says %+v", events)
			}
		}
		synctest.Wait()
		if s.Open() != 0 || s.Hub.Subscriptions() != 0 {
			t.Errorf("%d streams are open, %d subscribed", s.Open(), s.Hub.Subscriptions())
		}
		c := s.open(t, Request{})
		if err := <-c.ended; !errors.Is(err, ErrDraining) {
			t.Error(err)
		}
		events, p := c.parse()
		if got := types(events); !slices.Equal(got, []string{"outcrier.goodbye"}) || p.Retry == 0 {
			t.Errorf("a new stream gets %v, retry %v", got, p.Retry)
		}
		if _, err := s.Poll(t.Context(), Request{}, 1, 0); !errors.Is(err, ErrDraining) {
			t.Errorf("a poll: %v", err)
		}
	})
}

func TestStream_DrainEndsStreamsOneByOne(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		for range 100 {
			s.open(t, Request{})
		}
		s.Drain()
		for _, share := range []time.Duration{4, 2} {
			time.Sleep(s.DrainTime / share)
			synctest.Wait()
			if n := s.Open(); n == 0 || n == 100 {
				t.Errorf("%d of 100 are open in mid-drain", n)
			}
		}
		time.Sleep(s.DrainTime)
		synctest.Wait()
		if s.Open() != 0 {
			t.Errorf("%d are open", s.Open())
		}
	})
}

// Cancelling a stream with a Goodbye tells its reader the reason.
func TestStream_SaysWhyItIsCancelled(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		expired := &wire.Goodbye{Reason: "token_expired", Text: "the token has expired"}
		live := s.open(t, Request{})
		live.next()
		s.past.err = errors.New("gone")
		waiting := s.open(t, Request{From: From{Earliest: true}})
		waiting.next()
		for _, c := range []*client{waiting, live} {
			c.expire(expired)
			if err := <-c.ended; !errors.Is(err, expired) {
				t.Error(err)
			}
			if events := c.next(); len(events) != 1 || events[0].Type != "outcrier.goodbye" || events[0].Data != `{"reason":"token_expired"}` {
				t.Errorf("it says %+v", events)
			}
		}
	})
}

func TestStream_TooManyAreTurnedAway(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.MaxStreams = 2
		one := s.open(t, Request{})
		s.open(t, Request{})
		c := s.open(t, Request{})
		if err := <-c.ended; !errors.Is(err, ErrFull) {
			t.Error(err)
		}
		if events := c.next(); len(events) != 1 || events[0].Type != "outcrier.goodbye" || events[0].Data != `{"reason":"full"}` {
			t.Errorf("it says %+v", events)
		}
		if _, err := s.Poll(t.Context(), Request{}, 1, 0); !errors.Is(err, ErrFull) {
			t.Errorf("a poll: %v", err)
		}
		_ = one.end()
		if got := types(s.open(t, Request{}).next()); !slices.Contains(got, "outcrier.live") {
			t.Errorf("when there is room again: %v", got)
		}
	})
}

func TestStream_ThatStallsIsEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		c := s.open(t, Request{})
		c.response.mu.Lock()
		c.response.blocked = make(chan struct{})
		c.response.mu.Unlock()
		s.commit("a", 1)
		began := time.Now()
		if err := <-c.ended; !errors.Is(err, ErrStalled) {
			t.Error(err)
		}
		if took := time.Since(began); took != s.Stall {
			t.Errorf("it ended after %v", took)
		}
		if n := s.Hub.Subscriptions(); n != 0 {
			t.Errorf("%d are subscribed", n)
		}
	})
}

func TestStream_EndsWhenAWriteFails(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		c := s.open(t, Request{})
		gone := errors.New("gone")
		c.response.mu.Lock()
		c.response.err = gone
		c.response.mu.Unlock()
		s.commit("a", 1)
		if err := <-c.ended; !errors.Is(err, gone) {
			t.Error(err)
		}
	})
}

// A slow reader falls back to the table and then is live again.
func TestStream_BehindIsReplayedAndLiveAgain(t *testing.T) {
	const many = 30 // more than a queue holds, and small memory
	for _, bound := range []string{"frames", "bytes"} {
		t.Run(bound, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				s.Hub.QueueFrames = 4
				if bound == "bytes" {
					s.Hub.QueueFrames, s.Hub.QueueBytes = 1000, 1000
				}
				c, other := s.open(t, Request{}), s.open(t, Request{})
				c.next()
				other.next()
				for round := range 2 {
					first := round*2*many + 1
					blocked := make(chan struct{})
					c.response.mu.Lock()
					c.response.blocked = blocked
					c.response.mu.Unlock()
					for range many {
						s.commit("a", 1)
						synctest.Wait()
					}
					other.wantIDs(numbers(first, first+many-1)...)
					close(blocked)
					c.response.mu.Lock()
					c.response.blocked = nil
					c.response.mu.Unlock()
					c.wantIDs(numbers(first, first+many-1)...)
					for range many {
						s.commit("a", 1)
						synctest.Wait()
					}
					c.wantIDs(numbers(first+many, first+2*many-1)...)
					other.wantIDs(numbers(first+many, first+2*many-1)...)
				}
				if (s.past.replays == 0) != (s.Hub.Buffer.Bytes == 0) {
					t.Errorf("the table was asked %d times", s.past.replays)
				}
			})
		})
	}
}

// A stream that was behind replays no events from before its start: a start time
// applies once.
func TestStream_BehindLosesNothingToItsStart(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.Hub.QueueFrames = 1
		since := epoch.Add(time.Hour) // by a clock that is ahead
		c := s.open(t, Request{From: From{Since: since}, Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}, Since: since}})
		s.commit("a", 1)
		c.wantIDs("1")
		s.tail(slices.Concat(s.store("a", 1), s.store("a", 1), s.store("a", 1))...)
		c.wantIDs("2", "3", "4")
	})
}

// A long replay comes by pages, while new events wait or are replayed too.
func TestStream_ReplayMeetsLive(t *testing.T) {
	fromTable(t, func(t *testing.T, s *server) {
		s.commit("a", 1200)
		var during bool
		s.past.replay = func(replay.Range) error {
			if !during {
				during = true
				go s.commit("a", 300)
			}
			return nil
		}
		c := s.open(t, Request{From: From{Earliest: true}})
		s.commit("a", 1)
		c.wantIDs(numbers(1, 1501)...)
	})
}

// Who connects in the middle of a long read gets all of it, from the table.
func TestStream_JoinsWithinARead(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		early := s.open(t, Request{})
		start := s.at
		events := s.store("a", 6)
		to := after(events[5])
		s.Hub.Deliver(tail.Read{From: start, To: to, Events: events[:3], First: true})
		late := s.open(t, Request{From: From{Position: sealed(start)}})
		now := s.open(t, Request{})
		s.Hub.Deliver(tail.Read{From: start, To: to, Events: events[3:], Last: true})
		s.at = to
		early.wantIDs(numbers(1, 6)...)
		late.wantIDs(numbers(1, 6)...)
		now.wantIDs()
		s.commit("a", 1)
		for _, c := range []*client{early, late, now} {
			c.wantIDs("7")
		}
	})
}

// The tail starts again: each stream's own position is validated again.
func TestStream_IsToldOfAGapThatOpensInMidStream(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		c := s.open(t, Request{})
		s.commit("a", 1)
		c.next()
		// It can go on: no gap, and the missed events are replayed.
		events := s.store("a", 2)
		s.at = after(events[1])
		s.Hub.Start(s.at)
		if got := c.next(); !slices.Equal(ids(got), []string{"2", "3"}) || len(got) != 2 {
			t.Errorf("after a start that continues: %+v", got)
		}
		// It can't.
		s.past.set(func() {
			s.past.gap = func(position.Position) *position.Gap {
				return &position.Gap{Reason: position.OtherHistory, Since: epoch}
			}
		})
		s.at = position.Position{History: 2, EventID: 1, Given: position.Set{Max: 3}, Anchor: position.Anchor{XID: 3}}
		s.Hub.Start(s.at)
		got := c.next()
		if len(got) != 1 {
			t.Fatalf("after a start that does not continue: %+v", got)
		}
		if h := hello(t, got[0]); h.Resumed != "gap" || h.Reason != string(position.OtherHistory) || got[0].ID != sealed(s.at) {
			t.Errorf("%+v", h)
		}
		s.commit("a", 1)
		c.wantIDs("4")
	})
}

// Retention overtakes a replay: a gap, and then the remaining events.
func TestStream_IsToldWhenRetentionOvertakesItsReplay(t *testing.T) {
	fromTable(t, func(t *testing.T, s *server) {
		s.commit("a", 3000)
		s.past.replay = func(stretch replay.Range) error {
			if stretch.After < 500 {
				return nil
			}
			s.past.replay = nil
			s.past.events = s.past.events[2500:]
			s.past.gap = func(position.Position) *position.Gap { return &position.Gap{Reason: position.Trimmed, Since: epoch} }
			return replay.ErrTrimmed
		}
		c := s.open(t, Request{From: From{Earliest: true}})
		events := c.next()
		if got := ids(events); !slices.Equal(got, append(numbers(1, 2064), numbers(2501, 3000)...)) {
			t.Errorf("%d events are given: %v", len(got), got)
		}
		i := slices.IndexFunc(events[1:], func(e ssetest.Event) bool { return e.Type == "outcrier.hello" }) + 1
		if i != 2065 || hello(t, events[i]).Reason != string(position.Trimmed) {
			t.Errorf("the gap came at %d: %+v", i, events[i])
		}
	})
}

// A failover in the middle of a replay: the history that it is of is gone. To wait
// for it would be for ever.
func TestStream_IsToldWhenTheHistoryOfItsReplayIsGone(t *testing.T) {
	fromTable(t, func(t *testing.T, s *server) {
		s.commit("a", 3000)
		s.past.replay = func(stretch replay.Range) error {
			if stretch.After < 500 {
				return nil
			}
			s.past.gap = func(position.Position) *position.Gap {
				return &position.Gap{Reason: position.OtherHistory, Since: epoch}
			}
			return fmt.Errorf("replay: %w: %s", replay.ErrTrimmed, position.OtherHistory)
		}
		c := s.open(t, Request{From: From{Earliest: true}})
		events := c.next()
		i := slices.IndexFunc(events[1:], func(e ssetest.Event) bool { return e.Type == "outcrier.hello" }) + 1
		if i == 0 || hello(t, events[i]).Reason != string(position.OtherHistory) {
			t.Fatalf("of %d events none is a gap of another history", len(events))
		}
		s.commit("a", 1)
		c.wantIDs("3001")
	})
}

// With the database gone the stream stays open, heartbeats, and goes on when it
// is back.
func TestStream_OutlivesTheDatabase(t *testing.T) {
	fromTable(t, func(t *testing.T, s *server) {
		s.commit("a", 3)
		s.past.err = errors.New("gone")
		c := s.open(t, Request{From: From{Earliest: true}})
		time.Sleep(10 * s.Heartbeat)
		events, p := c.parse()
		if len(events) != 0 || len(p.Comments) < 9 {
			t.Errorf("meanwhile %v and %d comments", events, len(p.Comments))
		}
		s.past.set(func() { s.past.err = nil })
		time.Sleep(5 * time.Second)
		c.wantIDs(numbers(1, 3)...)

		// The same in the middle of a replay.
		s.commit("a", 1000)
		c.wantIDs(numbers(4, 1003)...)
		pages := 0
		s.past.replay = func(replay.Range) error {
			if pages++; pages == 2 {
				return errors.New("gone")
			}
			return nil
		}
		d := s.open(t, Request{From: From{Earliest: true}})
		time.Sleep(5 * time.Second)
		d.wantIDs(numbers(1, 1003)...)

		// And a drain ends those that wait.
		s.past.set(func() { s.past.err = errors.New("gone") })
		e := s.open(t, Request{From: From{Earliest: true}})
		s.Drain()
		if err := <-e.ended; !errors.Is(err, ErrDraining) {
			t.Error(err)
		}
	})
}

// However a stream ends, its subscription ends with it.
func TestStream_LeavesNoSubscriptionBehind(t *testing.T) {
	times := 50
	if testkit.Long() {
		times = 200
	}
	for range times {
		inBubble(t, func(t *testing.T, s *server) {
			s.Hub = newHub(s.Hub.Buffer)
			c := s.open(t, Request{})
			s.Hub.Start(s.at)
			_ = c.end()
			if n := s.Hub.Subscriptions(); n != 0 {
				t.Errorf("%d are subscribed", n)
			}
		})
		if t.Failed() {
			return
		}
	}
}

func TestStream_GivesAnEventOnceThoughSeveralPatternsMatch(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		c := s.open(t, Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a", "*", "**", "a/**", "a", "*/**"}}})
		s.commit("a", 2)
		s.commit("a/b", 1)
		c.wantIDs(numbers(1, 3)...)
	})
}

func TestStream_FiltersByType(t *testing.T) {
	for kind, want := range map[string][]string{"test.added": numbers(1, 2), "test.*": numbers(1, 2), "test": nil, "other.*": nil} {
		t.Run(kind, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				s.commit("a", 1)
				c := s.open(t, Request{
					Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}, Types: []string{kind}}, From: From{Earliest: true},
				})
				s.commit("a", 1)
				c.wantIDs(want...)
			})
		})
	}
}

// Formats change the data and the event's name, nothing else.
func TestStream_Formats(t *testing.T) {
	envelope := `{"specversion":"1.0","id":"1","source":"/","type":"test.added","topic":"a","time":"2026-11-22T02:00:00.123456Z","datacontenttype":"application/json","data":{"a": 1}}`
	for format, want := range map[wire.Format]ssetest.Event{
		wire.CloudEvents:                {Type: "test.added", Data: envelope},
		wire.Payload:                    {Type: "test.added", Data: `{"a": 1}`},
		wire.CloudEvents | wire.Unnamed: {Type: "message", Data: envelope},
		wire.Payload | wire.Unnamed:     {Type: "message", Data: `{"a": 1}`},
	} {
		t.Run(fmt.Sprint(format), func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				live := s.open(t, Request{Format: format})
				e := s.commit("a", 1)[0]
				replayed := s.open(t, Request{Format: format, From: From{Earliest: true}})
				want.ID = sealed(after(e))
				got := live.next()
				if diff := cmp.Diff(want, got[len(got)-1]); diff != "" {
					t.Errorf("live: %s", diff)
				}
				got = replayed.next()
				if got := got[1]; got.Type != want.Type || got.Data != want.Data {
					t.Errorf("replayed: %+v", got)
				}
			})
		})
	}
}
