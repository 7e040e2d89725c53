package replay_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
)

// What a row shares with the one before it, and memory that payloads are cut from,
// must not show.
func TestReplay_GivesRowsAsTheyAre(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type, source, payload, headers, created_at)
		SELECT CASE n % 3 WHEN 0 THEN 'a' ELSE 'ä/' || n / 2 END, 'type.' || n % 2, CASE WHEN n % 5 < 2 THEN '/' ELSE '/' || n END,
			to_json(repeat(chr(97 + n), n * n * 10)), CASE WHEN n % 4 = 0 THEN jsonb_build_object('k', n::text, 'ü', '"\') END,
			CASE n WHEN 1 THEN '0001-01-01Z' WHEN 2 THEN '9999-12-30 23:59:59.999999Z' ELSE timestamptz '1999-12-31 23:59:59.999999Z' + n * interval '1 microsecond' END
		FROM generate_series(1, 50) AS n`)
	reader := replay.Reader{Pool: pool}
	page, err := reader.Replay(t.Context(), replay.Ranges(sqltest.Earliest(t, reader), sqltest.Here(t, pool))[0], sqltest.All("**"), 500, 0)
	if err != nil || len(page.Events) != 50 {
		t.Fatalf("%d events, want 50; %v", len(page.Events), err)
	}
	for i, e := range page.Events {
		n := i + 1
		topic, source, at := fmt.Sprintf("ä/%d", n/2), fmt.Sprintf("/%d", n), time.Date(1999, 12, 31, 23, 59, 59, 999_999_000, time.UTC).Add(time.Duration(n)*time.Microsecond)
		if n%3 == 0 {
			topic = "a"
		}
		if n%5 < 2 {
			source = "/"
		}
		switch n {
		case 1:
			at = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
		case 2:
			at = time.Date(9999, 12, 30, 23, 59, 59, 999_999_000, time.UTC)
		}
		if e.Topic != topic || e.Type != fmt.Sprintf("type.%d", n%2) || e.Source != source || !e.CreatedAt.Equal(at) || e.CreatedAt.Location() != time.UTC {
			t.Errorf("event %d: topic %q, type %q, source %q, at %s; want %q, %q, %s", n, e.Topic, e.Type, e.Source, e.CreatedAt, topic, source, at)
		}
		if want := `"` + strings.Repeat(string(rune(97+n)), n*n*10) + `"`; string(e.Payload) != want {
			t.Errorf("event %d: payload of %d bytes %.20s…, want %d bytes %.20s…", n, len(e.Payload), e.Payload, len(want), want)
		}
		if n%4 != 0 && e.Headers != nil || n%4 == 0 && (len(e.Headers) != 2 || e.Headers["k"] != fmt.Sprint(n) || e.Headers["ü"] != `"\`) {
			t.Errorf("event %d: headers %v", n, e.Headers)
		}
	}
}

// Postgres takes a topic for a large part of the table where it has seen only few.
func TestReplay_RareTopicReadsNothingElse(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type) SELECT 'busy', 't' FROM generate_series(1, 20000)`)
	sqltest.Exec(t, pool, `ANALYZE outcrier.event`)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type) SELECT CASE n % 2 WHEN 0 THEN 'rare' ELSE 'rare/too' END, 't' FROM generate_series(1, 10) AS n`)
	reader := replay.Reader{Pool: pool}
	rng := replay.Ranges(sqltest.Earliest(t, reader), sqltest.Here(t, pool))[0]
	for name, topics := range map[string][]outbox.Pattern{"one": {"rare"}, "two": {"rare", "rare/too"}} {
		t.Run(name, func(t *testing.T) {
			single := outboxtest.Pool(t, url+"&pool_max_conns=1")
			reader := replay.Reader{Pool: single}
			page, err := reader.Replay(t.Context(), rng, sqltest.All(topics...), 500, 0)
			if err != nil || len(page.Events) != 5*len(topics) {
				t.Fatalf("%d events, want %d; %v", len(page.Events), 5*len(topics), err)
			}
			const readSQL = `SELECT coalesce(sum(idx_tup_read), 0)::int + (SELECT sum(seq_tup_read)::int FROM pg_stat_user_tables WHERE relname ~ '^event_(2|d)')
				FROM pg_stat_user_indexes WHERE relname ~ '^event_(2|d)'`
			sqltest.Exec(t, single, `SELECT pg_stat_force_next_flush()`)
			before := sqltest.Ask1[int](t, single, readSQL)
			if _, err := reader.Replay(t.Context(), rng, sqltest.All(topics...), 500, 0); err != nil {
				t.Fatal(err)
			}
			sqltest.Exec(t, single, `SELECT pg_stat_force_next_flush()`)
			if read := sqltest.Ask1[int](t, single, readSQL) - before; read > 100 {
				t.Errorf("%d rows were read for %d events", read, len(page.Events))
			}
		})
	}
}

// A URL may ask for a mode whose rows come as text.
func TestReplay_WhateverTheModeOfQueries(t *testing.T) {
	for _, mode := range []string{"exec", "simple_protocol", "describe_exec", "cache_describe", "cache_statement"} {
		t.Run(mode, func(t *testing.T) {
			pool := outboxtest.Pool(t, outboxtest.URL(t)+"&default_query_exec_mode="+mode)
			var delivered atomic.Int64
			follower := &tail.Tail{URL: pool.Config().ConnString(), Start: func(position.Position) {}, Deliver: func(r tail.Read) {
				for _, e := range r.Events {
					delivered.Store(e.ID)
				}
			}}
			ctx, cancel := context.WithCancel(context.Background())
			var following sync.WaitGroup
			following.Go(func() { _ = follower.Run(ctx) })
			t.Cleanup(func() { cancel(); following.Wait() })
			testkit.Eventually(t, "the tail follows", func() bool { return follower.Status().Following })
			id := sqltest.Ask1[int64](t, pool, `INSERT INTO outbox (topic, type) VALUES ('a', 't') RETURNING id`)
			testkit.Eventually(t, "the tail delivers", func() bool { return delivered.Load() == id })
			reader := replay.Reader{Pool: pool}
			if got := sqltest.Replay(t, reader, sqltest.Earliest(t, reader), sqltest.Here(t, pool), sqltest.All("a"), 10); len(got) != 1 {
				t.Errorf("the replay has %v", got)
			}
		})
	}
}
