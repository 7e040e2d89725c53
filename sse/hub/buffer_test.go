package hub_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/hub"
)

// onlyMemory is a Past that has nothing.
type onlyMemory struct{ hub.Past }

func (onlyMemory) Verify(_ context.Context, p position.Position, _ outbox.Filter, _ position.Position) (position.Position, *position.Gap, error) {
	return p, nil, errTable
}

func (onlyMemory) Replay(context.Context, replay.Range, outbox.Filter, int, int) (replay.Page, error) {
	return replay.Page{}, errTable
}

var errTable = fmt.Errorf("the table was asked")

// Whatever the replay buffer answers is what the table would: for stretches between any two
// positions of a history with late commits, in pages of any size.
func TestBuffer_AnswersAsTheTableDoes(t *testing.T) {
	ctx := t.Context()
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	reader := replay.Reader{Pool: pool}
	buffer := &hub.Buffer{Past: onlyMemory{}, Bytes: 256 << 10}
	h := hub.New(buffer)

	// Two tails, so that half of the positions don't fit the replay buffer's reads.
	var mu sync.Mutex
	var positions []position.Position
	running, stop := context.WithCancel(ctx)
	defer stop()
	var starting, done sync.WaitGroup
	for i := range 2 {
		starting.Add(1)
		follower := &tail.Tail{
			URL: url, Turn: time.Duration(1+6*i) * time.Millisecond, Log: slog.New(slog.DiscardHandler),
			Start: func(p position.Position) {
				if i == 0 {
					h.Start(p)
				}
				starting.Done()
			},
			Deliver: func(r tail.Read) {
				if i == 0 {
					h.Deliver(r)
				}
				mu.Lock()
				defer mu.Unlock()
				for i := range r.Events {
					positions = append(positions, r.At(i))
				}
			},
		}
		done.Go(func() { _ = follower.Run(running) })
	}
	starting.Wait()

	const writers, each = 8, 60
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			chance := rand.New(rand.NewPCG(1, uint64(w)))
			for range each {
				err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
					drafts := make([]outbox.Draft, 1+chance.IntN(4))
					for i := range drafts {
						drafts[i] = outbox.Draft{Topic: fmt.Sprint("t/", chance.IntN(4)), Type: fmt.Sprint("k", chance.IntN(2))}
					}
					if _, err := outbox.Append(ctx, tx, drafts...); err != nil {
						return err
					}
					_, err := tx.Exec(ctx, `SELECT pg_sleep($1)`, float64(chance.IntN(20))/1000)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	var events int
	if err := pool.QueryRow(ctx, `SELECT count(*) FROM outcrier.event`).Scan(&events); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		mu.Lock()
		n := len(positions)
		mu.Unlock()
		if n == 2*events {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d events read", n, 2*events)
		}
	}
	stop()
	done.Wait()

	chance := rand.New(rand.NewPCG(2, 2))
	to := positions[0]
	for _, p := range positions {
		if p.Given.Covers(to.Given) && p.Within == nil {
			to = p
		}
	}
	answered := 0
	for range 500 {
		p := positions[chance.IntN(len(positions))]
		p, err := h.Keys.Open(h.Keys.Seal(p))
		if err != nil {
			t.Fatal(err)
		}
		if verified, gap, err := buffer.Verify(ctx, p, outbox.Filter{}, h.Position()); err == nil && (gap != nil || !reflect.DeepEqual(verified.Given, p.Given)) {
			t.Fatalf("the replay buffer made %v of %v (%v)", verified, p, gap)
		}
		filter := outbox.Filter{Topics: []outbox.Pattern{"t/1", "t/2"}}
		if chance.IntN(2) == 0 {
			filter = outbox.Filter{Topics: []outbox.Pattern{"**"}, Types: []string{"k1"}}
		}
		for _, stretch := range replay.Ranges(p, to) {
			got, err := pages(ctx, buffer, stretch, filter, 1+chance.IntN(100))
			if err != nil {
				continue // too long ago for the replay buffer
			}
			answered++
			want, err := pages(ctx, reader, stretch, filter, 100)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("from %s the replay buffer gives %v, the table %v", p, got, want)
			}
		}
	}
	if answered < 20 || answered > 980 {
		t.Errorf("the replay buffer answered %d stretches of 500: the test wants some of either kind", answered)
	}
}

// replayer is what a replay buffer and a table have in common.
type replayer interface {
	Replay(ctx context.Context, stretch replay.Range, filter outbox.Filter, limit, bytes int) (replay.Page, error)
}

func pages(ctx context.Context, from replayer, stretch replay.Range, filter outbox.Filter, limit int) (ids []int64, err error) {
	for {
		page, err := from.Replay(ctx, stretch, filter, limit, 0)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Events {
			ids = append(ids, e.ID)
		}
		if page.Done {
			return ids, nil
		}
		stretch.After = page.After
	}
}
