package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/tmaxmax/go-sse"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// TestResume_LosesNothingOverTwentyKills kills the server in the middle of its
// streams, again and again, while writers go on. Its clients know nothing but
// the protocol: after each kill they come back with their Last-Event-ID.
func TestResume_LosesNothingOverTwentyKills(t *testing.T) {
	t.Parallel()
	const kills, writers = 20, 4
	database := outboxtest.URL(t)
	s := start(t, "--database-url", database, "--retry", "100ms", "--log-level", "warn")
	progress := make(chan struct{}, 1)
	followers := []*follower{
		follow(t, s, progress, "torture/**"),
		follow(t, s, progress, "torture/0", "torture/2", "torture/end"),
		follow(t, s, progress, "torture/3", "torture/end"),
		followBatches(t, s, progress, "torture/**"),
	}
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	for i := range writers {
		db := connect(t, database)
		writing.Go(func() { write(ctx, t, db, i) })
	}

	for kill := range kills {
		// Every other time in the midst of the replay.
		least := 1 + rand.IntN(50)
		for i, f := range followers {
			f.await(t, progress, fmt.Sprintf("client %d is back after kill %d", i, kill), func() bool {
				return f.hellos > kill && f.since >= least && (f.live || kill%2 == 0)
			})
		}
		s.kill()
		s.restart(t)
	}
	stop()
	writing.Wait()
	insert(t, connect(t, database), "torture/end", "the.end", "{}")

	held := rows(t, database, "torture/%")
	t.Logf("%d events", len(held))
	for i, f := range followers {
		f.await(t, progress, fmt.Sprintf("client %d is at the end", i), func() bool {
			return len(f.events) > 0 && f.events[len(f.events)-1].Type == "the.end"
		})
		f.check(t, i, held)
	}
}

// write appends until ctx ends: transactions of a few events of all sizes, some
// of which stay open for a while, and some of which are rolled back.
func write(ctx context.Context, t *testing.T, db *pgx.Conn, writer int) {
	const writeSQL = `
		INSERT INTO outbox (topic, type, payload)
		VALUES ('torture/' || $1::text, 'a.write', json_build_object('n', $2::int, 'padding', repeat('x', $3)))`
	changedMind := errors.New("changed my mind")
	for n := 0; ctx.Err() == nil; {
		err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			for range 1 + rand.IntN(3) {
				n++
				if _, err := tx.Exec(ctx, writeSQL, strconv.Itoa(writer), n, rand.IntN(4000)); err != nil {
					return err
				}
			}
			if rand.IntN(20) == 0 {
				pause(ctx, rand.N(400*time.Millisecond))
			}
			if rand.IntN(8) == 0 {
				return changedMind
			}
			return nil
		})
		if err != nil && !errors.Is(err, changedMind) && ctx.Err() == nil {
			t.Errorf("writer %d: %v", writer, err)
			return
		}
		pause(ctx, rand.N(6*time.Millisecond)) // the machine is not ours alone
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// follower is a client that keeps the events that it receives.
type follower struct {
	topics []string

	mu     sync.Mutex
	events []event  // but the server's own
	began  []string // data of all hellos but the first
	hellos int
	since  int  // events since the last hello
	live   bool // since the last hello
}

// follow reads topics until the test ends. It says on progress when it has got
// something.
func follow(t *testing.T, s *server, progress chan<- struct{}, topics ...string) *follower {
	t.Helper()
	return followWith(t, s, progress, url.Values{"topic": topics, "from": {"earliest"}, "format": {"payload"}})
}

// followBatches is follow by a stream that comes in batches.
func followBatches(t *testing.T, s *server, progress chan<- struct{}, topics ...string) *follower {
	t.Helper()
	return followWith(t, s, progress, url.Values{"topic": topics, "from": {"earliest"}, "batch": {"50ms"}})
}

func followWith(t *testing.T, s *server, progress chan<- struct{}, query url.Values) *follower {
	t.Helper()
	f := &follower{topics: query["topic"]}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+"/events?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := sse.Client{Backoff: sse.Backoff{InitialInterval: 100 * time.Millisecond, Multiplier: 1}}
	connection := client.NewConnection(request)
	connection.SubscribeToAll(func(e sse.Event) {
		f.keep(event{e.LastEventID, e.Type, e.Data})
		select {
		case progress <- struct{}{}:
		default:
		}
	})
	var connected sync.WaitGroup
	connected.Go(func() {
		if err := connection.Connect(); t.Context().Err() == nil {
			t.Errorf("the client of %q gives up: %v", query, err)
		}
	})
	t.Cleanup(connected.Wait)
	return f
}

func (f *follower) keep(e event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch e.Type {
	case "outcrier.hello":
		if f.hellos++; f.hellos > 1 {
			f.began = append(f.began, e.Data)
		}
		f.since, f.live = 0, false
	case "outcrier.live":
		f.live = true
	case "a.write", "the.end":
		f.since++
		f.events = append(f.events, e)
	case "outcrier.batch":
		// The position is the last one's; the events name themselves.
		var batch []struct {
			ID, Type string
			Data     json.RawMessage
		}
		if err := json.Unmarshal([]byte(e.Data), &batch); err != nil {
			batch = nil // missing events are found at the end
		}
		for _, one := range batch {
			f.since++
			f.events = append(f.events, event{one.ID + ".", one.Type, string(one.Data)})
		}
	}
}

// await waits until is tells so of the follower.
func (f *follower) await(t *testing.T, progress <-chan struct{}, what string, is func() bool) {
	t.Helper()
	giveUp := time.After(testkit.Deadline)
	for {
		f.mu.Lock()
		yes := is()
		f.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-progress:
		case <-giveUp:
			t.Fatalf("not within %v: %s", testkit.Deadline, what)
		}
	}
}

// check compares the events that the follower received with the table.
func (f *follower) check(t *testing.T, client int, held []row) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, hello := range f.began {
		if !strings.Contains(hello, `"resumed":true`) {
			t.Errorf("client %d came back and was told %s", client, hello)
		}
	}
	byID := map[string]row{}
	for _, r := range held {
		if f.topics[0] == "torture/**" || slices.Contains(f.topics, r.Topic) {
			byID[strconv.FormatInt(r.ID, 10)] = r
		}
	}
	t.Logf("client %d: %d events, %d streams", client, len(f.events), f.hellos)
	given, last := map[string]bool{}, map[string]int{}
	for _, e := range withoutPositions(f.events) {
		r, ok := byID[e.ID]
		switch {
		case !ok || r.Type != e.Type || r.Payload != e.Data:
			t.Errorf("client %d was given %v, which is not held", client, e)
		case given[e.ID]:
			t.Errorf("client %d was given event %s twice", client, e.ID)
		}
		given[e.ID] = true
		// A writer's transactions follow each other: their order must be kept.
		var payload struct{ N int }
		if err := json.Unmarshal([]byte(e.Data), &payload); err != nil {
			t.Error(err)
		}
		if e.Type == "a.write" && payload.N <= last[r.Topic] {
			t.Errorf("client %d was given write %d of %s after %d", client, payload.N, r.Topic, last[r.Topic])
		}
		last[r.Topic] = payload.N
	}
	if lost := len(byID) - len(given); lost > 0 {
		t.Errorf("client %d was not given %d of %d events", client, lost, len(byID))
	}
}
