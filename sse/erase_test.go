package sse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/wire"
)

// secret is in the payload of every event that storeSecret stores, and none of what
// stands in the table after erase.
const secret = "secret"

// storeSecret commits n events without the tail seeing them.
func (s *server) storeSecret(topic string, n int) []outbox.Event {
	events := s.store(topic, n)
	for i := range events {
		events[i].Payload = json.RawMessage(fmt.Sprintf(`{"%s": %d}`, secret, events[i].ID))
	}
	s.past.set(func() { copy(s.past.events[len(s.past.events)-n:], events) })
	return events
}

// erase erases all events that the table has, or redacts them, and commits a marker.
// The tail does not see it before it gets the returned read.
func (s *server) erase(redact bool) (marker []outbox.Event) {
	marker = s.store("", 1)
	s.past.set(func() {
		for i := range s.past.events {
			e := &s.past.events[i]
			e.Payload = json.RawMessage(`{}`)
			if !redact {
				e.Topic = ""
			}
		}
	})
	return marker
}

// tailErasure delivers a read that has seen an erasure.
func (s *server) tailErasure(events ...outbox.Event) {
	to := after(events[len(events)-1])
	s.Hub.Deliver(tail.Read{From: s.at, To: to, Events: events, First: true, Last: true, Forget: true})
	s.at = to
}

// wantNoSecret checks all that a client was sent.
func (c *client) wantNoSecret() {
	c.t.Helper()
	synctest.Wait()
	c.response.mu.Lock()
	defer c.response.mu.Unlock()
	if text := string(c.response.text()); strings.Contains(text, secret) {
		c.t.Errorf("given is what was erased: %s", text)
	}
}

// each runs a test with events that are erased, and that are redacted.
func eachErasure(t *testing.T, ringBytes int, test func(t *testing.T, s *server, redact bool)) {
	for _, redact := range []bool{false, true} {
		t.Run(fmt.Sprintf("redact %v", redact), func(t *testing.T) {
			inBubbleWith(t, ringBytes, func(t *testing.T, s *server) { test(t, s, redact) })
		})
	}
}

// given are the numbers of the events that are delivered once all of a table with n
// events is redacted, or erased.
func given(redact bool, n int) []string {
	if redact {
		return numbers(1, n)
	}
	return nil
}

func TestErase_FailsUnlessTheRingIsEmptied(t *testing.T) {
	eachErasure(t, 0, func(t *testing.T, s *server, redact bool) {
		start := From{Position: sealed(s.at)}
		s.tail(s.storeSecret("a", 5)...)
		s.tailErasure(s.erase(redact)...)
		for _, request := range []Request{
			{From: start}, {From: start, Batch: window}, {From: start, Format: wire.Gzip},
			{From: start, Filter: outbox.Filter{Topics: []outbox.Pattern{"**"}}},
			{From: start, Filter: outbox.Filter{Topics: []outbox.Pattern{"*"}}},
		} {
			c := s.open(t, request)
			c.wantNoSecret()
			if got := ids(c.next()); request.Batch == 0 && !slices.Equal(got, given(redact, 5)) {
				t.Errorf("given are %v", got)
			}
		}
		if p := s.poll(start, 10, 0); p.err != nil || !slices.Equal(p.ids, given(redact, 5)) || strings.Contains(p.text, secret) {
			t.Errorf("a poll: %+v", p)
		}
		if n := s.Stats().BufferEvents; n != 0 {
			t.Errorf("the replay buffer has %d events", n)
		}
		s.commit("a", 2)
		if n := s.Stats().BufferEvents; n != 2 {
			t.Errorf("behind an erasure the replay buffer has %d events", n)
		}
	})
}

func TestErase_FailsUnlessQueuesAreDropped(t *testing.T) {
	for _, lags := range []bool{false, true} {
		t.Run(fmt.Sprintf("lags %v", lags), func(t *testing.T) {
			eachErasure(t, 0, func(t *testing.T, s *server, redact bool) {
				if lags {
					s.Hub.QueueFrames = 2
				}
				live := s.open(t, Request{})
				live.block()
				batches := s.open(t, Request{Batch: window})
				s.commit("a", 1) // this one is being written
				synctest.Wait()
				s.tail(s.storeSecret("a", 5)...)
				synctest.Wait()
				s.tailErasure(s.erase(redact)...)
				live.response.mu.Lock()
				close(live.response.blocked)
				live.response.blocked = nil
				live.response.mu.Unlock()
				time.Sleep(2 * window)
				live.wantNoSecret()
				batches.wantNoSecret()
				want := append([]string{"1"}, given(redact, 6)...)
				if redact {
					want = numbers(1, 6)
				}
				live.wantIDs(want...)
				// Delivery goes on after it.
				s.commit("a", 1)
				live.wantIDs("8")
				time.Sleep(2 * window)
				if got := inBatches(t, batches.next()); !slices.Equal(got[len(got)-1][max(0, len(got[len(got)-1])-1):], []string{"8"}) {
					t.Errorf("in batches come %v", got)
				}
			})
		})
	}
}

// A stream that has taken more than it writes at once waits for its reader with the rest.
func TestErase_FailsUnlessBatchesTakenBeforeAreDiscarded(t *testing.T) {
	eachErasure(t, 0, func(t *testing.T, s *server, redact bool) {
		const events = 200
		c := s.open(t, Request{Batch: window})
		many := s.storeSecret("a", events)
		for i := range many {
			many[i].Payload = json.RawMessage(fmt.Sprintf(`{"%s": %d, "x": "%s"}`, secret, i, strings.Repeat("x", 1000)))
		}
		c.block()
		s.tail(many...)
		time.Sleep(2 * window)
		synctest.Wait()
		c.response.mu.Lock()
		before := len(c.response.textOf(slices.Concat(c.response.sent, c.response.writing)))
		c.response.mu.Unlock()
		s.tailErasure(s.erase(redact)...)
		c.response.mu.Lock()
		close(c.response.blocked)
		c.response.blocked = nil
		c.response.mu.Unlock()
		time.Sleep(2 * window)
		got := slices.Concat(inBatches(t, c.all())...)
		if text := string(c.response.text()); strings.Contains(text[before:], secret) || strings.Count(text[:before], secret) == 0 {
			t.Errorf("given is what was erased, behind %d bytes of %d", before, len(text))
		}
		if n := len(got); redact && !slices.Equal(got, numbers(1, events)) || !redact && !slices.Equal(got, numbers(1, n)) {
			t.Errorf("%d events are given, not each once in order", n)
		}
	})
}

// Also a page that was read ahead.
func TestErase_FailsUnlessPagesReadBeforeAreDiscarded(t *testing.T) {
	const events = 2*smallPage + largePage + 500
	eachErasure(t, -1, func(t *testing.T, s *server, redact bool) {
		for name, request := range map[string]Request{"stream": {}, "batch": {Batch: window}, "gzip": {Format: wire.Gzip}} {
			s.past.set(func() { s.past.events = nil })
			s.at = position.Position{History: 1}
			s.Hub.Start(s.at)
			s.tail(s.storeSecret("a", events)...)
			var pages atomic.Int64
			s.past.set(func() {
				s.past.replay = func(replay.Range) error {
					if pages.Add(1) == 3 { // a large one, with the next read ahead
						go func() {
							time.Sleep(time.Second)
							s.tailErasure(s.erase(redact)...)
						}()
					}
					return nil
				}
			})
			w := &response{}
			s.Hub.Buffer.Past = late{s.past, func() time.Duration {
				if pages.Load() < 3 {
					return 0
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.pace == 0 {
					w.pace = promptly * 2 / 3
				}
				return 2 * time.Second
			}}
			request.From = From{Earliest: true}
			c := s.openOn(t, w, request)
			time.Sleep(time.Second + time.Millisecond)
			synctest.Wait()
			c.response.mu.Lock()
			before := len(c.response.textOf(slices.Concat(c.response.sent, c.response.writing)))
			c.response.mu.Unlock()
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			c.response.mu.Lock()
			text := string(c.response.text())
			c.response.mu.Unlock()
			if n := strings.Count(text[:before], secret); n == 0 || n == events {
				t.Errorf("%s: %d events were given before: the test tests nothing", name, n)
			}
			if strings.Contains(text[before:], secret) {
				t.Errorf("%s: given is what was erased", name)
			}
			got := ids(c.next())
			if request.Batch > 0 {
				got = nil
				for _, batch := range inBatches(t, c.all()) {
					got = append(got, batch...)
				}
			}
			if n := len(got); redact && !slices.Equal(got, numbers(1, events)) || !redact && !slices.Equal(got, numbers(1, n)) {
				t.Errorf("%s: %d events are given, not each once in order", name, n)
			}
			_ = c.end()
		}
	})
}

// A page is read before an erasure is committed, and there when the tail has seen it.
func TestErase_FailsUnlessPagesOfPollsAreDiscarded(t *testing.T) {
	for _, redact := range []bool{false, true} {
		for _, ringBytes := range []int{0, -1} {
			for _, until := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					s := newServer(ringBytes)
					start := sealed(s.at)
					s.tail(s.storeSecret("a", 5)...)
					at := sealed(s.at)
					erased := false
					if ringBytes == 0 { // the first page is from memory, and more follows from the table
						s.Hub.Start(s.at)
						s.tail(s.storeSecret("a", 5)...)
						at = sealed(s.at)
					}
					s.Hub.Buffer.Past = late{s.past, func() time.Duration {
						if !erased {
							erased = true
							marker := s.erase(redact)
							time.Sleep(time.Second)
							s.tailErasure(marker...)
						}
						return time.Second
					}}
					request := Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}, From: From{Position: start}}
					if until {
						request.Until = at
					}
					answer, err := s.Poll(context.Background(), request, 100, 10*time.Second)
					if err != nil || strings.Contains(string(bytes.Join(answer.Parts(), nil)), secret) || !erased {
						t.Errorf("redact %v, until %v: %s, %v", redact, until, bytes.Join(answer.Parts(), nil), err)
					}
					if n := len(answer.Events); redact && n != 5 && n != 10 || !redact && n != 0 {
						t.Errorf("redact %v, until %v: %d events", redact, until, n)
					}
				})
			}
		}
	}
}

// late is a table whose pages take some time to arrive after they were read.
type late struct {
	hub.Past
	takes func() time.Duration
}

func (p late) Replay(ctx context.Context, stretch replay.Range, filter outbox.Filter, limit, bytes int) (replay.Page, error) {
	page, err := p.Past.Replay(ctx, stretch, filter, limit, bytes)
	time.Sleep(p.takes())
	return page, err
}

// Events on no topic reach no reader: by no pattern, not from memory, not from a read
// that has nothing else; and positions advance over them.
func TestErase_MarkersGoToNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		start := From{Position: sealed(s.at)}
		all := Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"**", "*", "a"}}, From: start}
		live := s.open(t, all)
		for range 3 {
			s.commit("", 1)
			s.tailErasure(s.store("", 1)...)
			s.tail(slices.Concat(s.store("", 1), s.store("a", 1), s.store("", 1), s.store("a", 1), s.store("", 1))...)
		}
		// A long read that begins, and ends, with parts that have nothing else.
		begin := s.at
		events := slices.Concat(s.store("", 2), s.store("a", 1), s.store("", 3))
		to := after(events[len(events)-1])
		for i, part := range [][]outbox.Event{events[:1], events[1:2], events[2:3], events[3:5], events[5:], nil} {
			s.Hub.Deliver(tail.Read{From: begin, To: to, Events: part, First: i == 0, Last: i == 5, Forget: i == 1})
			time.Sleep(s.Heartbeat + time.Second)
		}
		s.at = to
		replayed := s.open(t, all)
		time.Sleep(s.Heartbeat + time.Second)
		want := []string{"4", "6", "11", "13", "18", "20", "24"}
		for name, c := range map[string]*client{"live": live, "replayed": replayed} {
			c.wantIDs(want...)
			all, p := c.parse()
			if strings.Contains(string(c.response.text()), `"topic":""`) {
				t.Errorf("%s: an event on no topic is given", name)
			}
			if p.LastID != sealed(s.at) {
				t.Errorf("%s: its position is %s after %d events, want %s", name, p.LastID, len(all), s.at)
			}
		}
	})
}

// Whenever an event is erased or redacted, and however slow tables and readers are: no
// reader receives it once the tail has seen that, except by a write that was under way;
// and each other event comes once, in order.
func TestErase_NobodyIsGivenWhatWasErasedWhateverHappens(t *testing.T) {
	seeds := uint64(8) // one of each kind
	if testkit.Long() {
		seeds = 24
	}
	for seed := range seeds {
		chance := rand.New(rand.NewPCG(seed, 1))
		run := func(t *testing.T, s *server) { eraseAtRandom(t, s, chance) }
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubbleWith(t, []int{0, -1, 4000, 20_000}[seed%4], func(t *testing.T, s *server) {
				s.format = wire.Format(seed/4%2) * wire.Gzip
				run(t, s)
			})
		})
	}
}

// versions are what payloads of eraseAtRandom have of an event and how often it was changed.
var versions = regexp.MustCompile(`<\d+\.\d+>`)

func eraseAtRandom(t *testing.T, s *server, chance *rand.Rand) {
	s.Hub.QueueFrames = []int{1 + chance.IntN(30), 500}[chance.IntN(2)]
	s.Stall = time.Hour
	s.Hub.Buffer.Past = late{s.past, func() time.Duration { return rand.N(3 * time.Second) }}
	var clients []*client
	responses := map[*client]*response{}
	batched := map[*client]bool{}
	open := func(from From) {
		w := &response{}
		if chance.IntN(2) == 0 {
			w.pace = rand.N(2 * time.Second)
		}
		request := Request{From: from}
		if chance.IntN(3) == 0 {
			request.Batch = window
		}
		c := s.openOn(t, w, request)
		clients, responses[c], batched[c] = append(clients, c), w, request.Batch > 0
	}
	start := From{Position: sealed(s.at)}
	erased := map[int64]bool{}
	version := map[int64]int{}
	// stale has the events that a client may have received up to a length of its text,
	// and not after.
	type stale struct {
		from int
		text string
	}
	forbidden := map[*client][]stale{}
	large := strings.Repeat("x", 300)
	payload := func(id int64) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"n":"<%d.%d>","x":"%s"}`, id, version[id], large))
	}
	for range 40 {
		switch chance.IntN(8) {
		case 0:
			if len(clients) < 6 {
				open(start)
			}
		case 1, 2, 3:
			events := s.store("a", 1+chance.IntN(30))
			for i := range events {
				events[i].Payload = payload(events[i].ID)
			}
			s.past.set(func() { copy(s.past.events[len(s.past.events)-len(events):], events) })
			s.tail(events...)
		case 4, 5:
			if len(s.past.events) == 0 {
				continue
			}
			marker := s.store("", 1)
			var old []string
			s.past.set(func() {
				for range 1 + chance.IntN(20) {
					e := &s.past.events[chance.IntN(len(s.past.events))]
					if e.Topic == "" {
						continue
					}
					old = append(old, fmt.Sprintf("<%d.%d>", e.ID, version[e.ID]))
					version[e.ID]++
					e.Payload = payload(e.ID)
					if chance.IntN(2) == 0 {
						erased[e.ID], e.Topic, e.Payload = true, "", json.RawMessage(`{}`)
					}
				}
			})
			time.Sleep(rand.N(time.Second)) // the tail comes later
			synctest.Wait()
			s.tailErasure(marker...)
			synctest.Wait()
			for _, c := range clients {
				w := responses[c]
				w.mu.Lock()
				from := len(w.textOf(slices.Concat(w.sent, w.writing)))
				w.mu.Unlock()
				for _, text := range old {
					forbidden[c] = append(forbidden[c], stale{from, text})
				}
			}
		case 6:
			time.Sleep(rand.N(3 * time.Second))
		case 7:
			if len(clients) > 0 {
				w := responses[clients[chance.IntN(len(clients))]]
				w.mu.Lock()
				if w.blocked == nil {
					w.blocked = make(chan struct{})
				} else {
					close(w.blocked)
					w.blocked = nil
				}
				w.mu.Unlock()
			}
		}
	}
	for _, w := range responses {
		w.mu.Lock()
		if w.pace = 0; w.blocked != nil {
			close(w.blocked)
			w.blocked = nil
		}
		w.mu.Unlock()
	}
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	for i, c := range clients {
		c.response.mu.Lock()
		text := string(c.response.text())
		c.response.mu.Unlock()
		last := map[string]int{} // where each version of an event comes last
		for _, at := range versions.FindAllStringIndex(text, -1) {
			last[text[at[0]:at[1]]] = at[0]
		}
		for _, f := range forbidden[c] {
			if at, comes := last[f.text]; comes && at >= f.from {
				t.Errorf("client %d, batches %v, is given %s after its erasure", i, batched[c], f.text)
			}
		}
		got := ids(c.next())
		if batched[c] {
			got = slices.Concat(inBatches(t, c.all())...)
		}
		times := map[string]int{}
		before := 0
		for _, id := range got {
			var n int
			_, _ = fmt.Sscan(id, &n) // a number
			if n <= before {
				t.Errorf("client %d is given %d after %d", i, n, before)
			}
			times[id], before = times[id]+1, n
		}
		for _, e := range s.past.events {
			if n := times[fmt.Sprint(e.ID)]; n > 1 || e.Topic == "a" && n != 1 || e.Topic == "" && !erased[e.ID] && n != 0 {
				t.Errorf("client %d, batches %v, is given event %d %d times", i, batched[c], e.ID, n)
			}
		}
		_ = c.end()
	}
}

// A tail that starts again may have missed an erasure: a page from before is read
// again.
func TestErase_APageIsReadAgainWhenTheTailStartsAgain(t *testing.T) {
	inBubbleWith(t, -1, func(t *testing.T, s *server) {
		s.tail(s.storeSecret("a", 5)...)
		again := false
		s.Hub.Buffer.Past = late{s.past, func() time.Duration {
			if !again {
				again = true
				s.at = after(s.erase(true)[0])
				s.Hub.Start(s.at)
			}
			return time.Second
		}}
		c := s.open(t, Request{From: From{Earliest: true}})
		time.Sleep(time.Minute)
		c.wantNoSecret()
		c.wantIDs(numbers(1, 5)...)
	})
}

// Erasures that come as fast as a tail reads hold no replay up for ever.
func TestErase_ReplaysGetOnThroughMany(t *testing.T) {
	inBubbleWith(t, -1, func(t *testing.T, s *server) {
		const events = 2000
		s.commit("a", events)
		s.Hub.Buffer.Past = sized{s.past}
		ctx, stop := context.WithCancelCause(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				time.Sleep(10 * time.Millisecond)
				s.tailErasure(s.store("", 1)...)
			}
		}()
		c := s.open(t, Request{From: From{Earliest: true}})
		time.Sleep(20 * time.Second)
		stop(errors.New("enough"))
		<-done
		c.wantIDs(numbers(1, events)...)
	})
}

// sized is a table that takes its time by the size of a page: 64 events in 3 ms.
type sized struct{ hub.Past }

func (p sized) Replay(ctx context.Context, stretch replay.Range, filter outbox.Filter, limit, bytes int) (replay.Page, error) {
	page, err := p.Past.Replay(ctx, stretch, filter, limit, bytes)
	time.Sleep(time.Duration(len(page.Events)) * 3 * time.Millisecond / 64)
	return page, err
}
