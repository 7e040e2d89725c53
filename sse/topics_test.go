package sse

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/ssetest"
	"github.com/outcrier/outcrier/sse/wire"
)

// follow adds and drops the topics of a message, except secret.
func follow(_ context.Context, c Change, topics []outbox.Pattern) (now []outbox.Pattern, refused []wire.Refused) {
	now = slices.DeleteFunc(slices.Clone(topics), func(p outbox.Pattern) bool { return slices.Contains(c.Drop, string(p)) })
	for _, topic := range c.Add {
		if topic == "secret" {
			refused = append(refused, wire.Refused{Status: http.StatusForbidden, Title: "Forbidden", Topic: topic})
			continue
		}
		if p := outbox.Pattern(topic); !slices.Contains(now, p) {
			now = append(now, p)
		}
	}
	return now, refused
}

// frameOf is a frame as a client sends it.
func frameOf(kind ws.OpCode, payload string) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(kind, true, []byte(payload))))
}

// say has the server receive a message.
func (c *client) say(text string) {
	c.response.mu.Lock()
	received := c.response.received
	c.response.mu.Unlock()
	received(frameOf(ws.OpText, text))
}

// bySocket runs a test of streams on WebSockets, with much memory, little and none.
func bySocket(t *testing.T, test func(t *testing.T, s *server)) {
	for name, bytes := range map[string]int{"much memory": 0, "small memory": 3000, "no memory": -1} {
		t.Run(name, func(t *testing.T) {
			inBubbleWith(t, bytes, func(t *testing.T, s *server) {
				if s.sockets = s.parks; s.sockets {
					s.change = follow
					test(t, s)
				}
			})
		})
	}
}

// wantFollowed checks that of all events committed exactly those came that the topics in
// force at their positions select, as the answers tell, once and in order.
func (s *server) wantFollowed(t *testing.T, got []ssetest.Event, topics ...string) {
	t.Helper()
	var came, want []string
	at, last := int64(-1), int64(0)
	upTo := func(next int64) {
		for _, e := range s.past.events {
			if at >= 0 && e.ID > at && e.ID <= next && slices.Contains(topics, e.Topic) {
				want = append(want, fmt.Sprint(e.ID))
			}
		}
		at = next
	}
	for _, e := range got {
		p, err := testKeys.Open(e.ID)
		if err != nil {
			continue // an error, which has no position
		}
		if p.EventID < last {
			t.Errorf("the position of %+v is %d, before %d", e.Type, p.EventID, last)
		}
		last = p.EventID
		switch e.Type {
		case "test.added":
			came = append(came, ids([]ssetest.Event{e})...)
		case "outcrier.hello":
			upTo(p.EventID)
		case "outcrier.topics":
			upTo(p.EventID)
			var data struct{ Topics []string }
			if err := json.Unmarshal([]byte(e.Data), &data); err != nil {
				t.Fatal(err)
			}
			topics = data.Topics
		}
	}
	upTo(int64(len(s.past.events)))
	if !slices.Equal(came, want) {
		t.Errorf("given are %v, want %v", came, want)
	}
}

// Whatever a stream does when its topics change (live, waiting for its reader, in
// mid-replay, within a long read), the answer has the position from which on the new
// topics hold.
func TestTopics_ChangeWhereTheAnswerStands(t *testing.T) {
	bySocket(t, func(t *testing.T, s *server) {
		s.Hub.QueueFrames = 5
		random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // to be the same each time
		topics := []string{"a", "b", "c"}
		for range 20 {
			from := len(s.past.events)
			c := s.open(t, Request{From: From{Position: testKeys.Seal(s.at)}})
			answers := 0
			for range 60 {
				topic := topics[random.IntN(3)]
				switch random.IntN(8) {
				case 0, 1, 2:
					s.commit(topic, 1+random.IntN(4))
				case 3:
					s.commit(topic, 1)
					synctest.Wait()
				case 4:
					c.say(fmt.Sprintf(`{"add":[%q]}`, topic))
					answers++
				case 5:
					c.say(fmt.Sprintf(`{"drop":[%q],"add":["secret"]}`, topic))
					answers++
				case 6:
					c.unblock()
					c.block()
					s.commit(topic, 3)
					synctest.Wait()
				case 7:
					c.unblock()
				}
			}
			c.unblock()
			time.Sleep(time.Second)
			s.commit("a", 1)
			events := c.next()
			got := 0
			for _, e := range events {
				if e.Type == "outcrier.topics" {
					got++
				}
			}
			if got != answers {
				t.Errorf("%d answers to %d messages", got, answers)
			}
			s.wantFollowed(t, events, "a")
			_ = c.end()
			if t.Failed() {
				t.Logf("from event %d on", from)
				return
			}
		}
	})
}

// unblock has the reader take what there is.
func (c *client) unblock() {
	synctest.Wait()
	c.response.mu.Lock()
	defer c.response.mu.Unlock()
	if c.response.blocked != nil {
		close(c.response.blocked)
		c.response.blocked = nil
	}
}

// In mid-replay too: events that came meanwhile on a topic that is added then were not
// queued.
func TestTopics_ChangeInMidReplay(t *testing.T) {
	bySocket(t, func(t *testing.T, s *server) {
		s.commit("a", 300)
		c := s.openOn(t, &response{pace: time.Second}, Request{From: From{Earliest: true}})
		time.Sleep(1500 * time.Millisecond)
		s.commit("b", 1)
		c.say(`{"add":["b"]}`)
		s.commit("b", 1)
		time.Sleep(time.Minute)
		s.commit("b", 1)
		time.Sleep(time.Minute)
		events := c.next()
		s.wantFollowed(t, events, "a")
		if got := ids(events); len(got) != 303 {
			t.Errorf("%d events are given, want 303", len(got))
		}
	})
}

// A topic that is added in the middle of a read comes from there on.
func TestTopics_ChangeWithinARead(t *testing.T) {
	bySocket(t, func(t *testing.T, s *server) {
		c := s.open(t, Request{})
		events := slices.Concat(s.store("a", 2), s.store("b", 2), s.store("a", 1), s.store("b", 1))
		to := after(events[5])
		parts := [][]outbox.Event{events[:3], events[3:4], events[4:]}
		for i, part := range parts {
			s.Hub.Deliver(tail.Read{From: s.at, To: to, Events: part, First: i == 0, Last: i == len(parts)-1})
			if i == 1 {
				c.say(`{"add":["b"]}`)
			}
			synctest.Wait()
		}
		s.at = to
		got := c.next()
		var answer position.Position
		for _, e := range got {
			if e.Type == "outcrier.topics" {
				answer, _ = testKeys.Open(e.ID)
			}
		}
		if want := []string{"1", "2", "5", "6"}; !slices.Equal(ids(got), want) || answer.EventID != 4 {
			t.Errorf("given are %v, want %v; the position of the answer is %d", ids(got), want, answer.EventID)
		}
		// A reader that resumes with the new topics from the answer receives the rest,
		// and no more.
		resumed := s.open(t, Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a", "b"}}, From: From{Position: testKeys.Seal(answer)}})
		resumed.wantIDs("5", "6")
	})
}

// While the database is away a ping is answered all the same, and messages wait.
func TestTopics_MessagesWaitForTheDatabase(t *testing.T) {
	bySocket(t, func(t *testing.T, s *server) {
		s.commit("a", 1)
		s.past.set(func() { s.past.err = errStopped })
		c := s.open(t, Request{From: From{Earliest: true}})
		c.say(`{"add":["b"]}`)
		c.response.received(frameOf(ws.OpPing, "are you there"))
		synctest.Wait()
		c.response.mu.Lock()
		pong := strings.Contains(string(c.response.sent), "\x8a\x0dare you there")
		c.response.mu.Unlock()
		if !pong {
			t.Error("a ping is not answered")
		}
		s.past.set(func() { s.past.err = nil })
		time.Sleep(5 * time.Second)
		s.commit("b", 1)
		s.wantFollowed(t, c.next(), "a")
	})
}

// What a client sends while the stream has ended, or is about to, changes nothing.
func TestTopics_AfterTheEndNothingIsRead(t *testing.T) {
	bySocket(t, func(t *testing.T, s *server) {
		c := s.open(t, Request{})
		c.say(`{"add":`)
		c.say(`{"add":["b"]}`)
		c.say(`nonsense`)
		why := <-c.ended
		if got := types(c.next()); !slices.Equal(got, []string{"outcrier.hello", "outcrier.live", "outcrier.error"}) {
			t.Errorf("it got %v, and ended with %v", got, why)
		}
		c.say(`{"add":["b"]}`)
		synctest.Wait()
	})
}
