package admin_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// daily is a day of so many events a minute, until it has count; they begin with id 1.
func daily(t *testing.T, minutely, count int) *pgxpool.Pool {
	t.Helper()
	pool := outboxtest.Pool(t, outboxtest.URL(t)+"&pool_max_conns=1") // whose counts are flushed
	sqltest.Partitions(t, pool, "2020-11-20")
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (id, topic, type, created_at)
		SELECT n, 'a', CASE n WHEN 17 THEN 'rare' ELSE 't' END, '2020-11-20 00:00+00'::timestamptz + n * interval '1 min' / $1::int FROM generate_series(1, $2) AS n`, minutely, count)
	sqltest.Exec(t, pool, `VACUUM (ANALYZE) outcrier.event`)
	return pool
}

// at is a time of that day.
func at(hour, minute, second int) time.Time {
	return time.Date(2020, 11, 20, hour, minute, second, 0, time.UTC)
}

// A search before a time looks at no later events, and still finds an event that has an
// early time and a late id.
func TestSearch_BeginsAtItsTime(t *testing.T) {
	pool := daily(t, 60, 50000)
	a := admin.New(pool)
	a.SearchFor(-1)
	until := at(5, 0, 0)
	const bound = 5*3600 + 60
	found := search(t, a, admin.Search{Type: "rare", Until: until})
	if !found.Further || found.ScannedTo != bound-1024 {
		t.Errorf("it looked back to %d, further %v", found.ScannedTo, found.Further)
	}
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (id, topic, type, created_at) VALUES (60000, 'a', 'rare', '2020-11-20 01:00+00')`)
	var got []int64
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		found = search(t, a, admin.Search{Type: "rare", Until: until, Limit: 1, Cursor: cursor})
		got, cursor = append(got, idsOf(found)...), found.Next
	}
	if want := []int64{17, 60000}; !slices.Equal(got, want) {
		t.Errorf("found are %v, want %v", got, want)
	}
	// The last page of all says that it is, with nothing more to click for.
	a.SearchFor(time.Minute)
	first := search(t, a, admin.Search{From: at(1, 0, 0), Until: at(1, 0, 2)})
	last := search(t, a, admin.Search{From: at(1, 0, 0), Until: at(1, 0, 2), Cursor: first.Next})
	if !slices.Equal(idsOf(first), []int64{3601, 3600}) || !slices.Equal(idsOf(last), []int64{60000}) || last.Next != "" {
		t.Errorf("the pages are %v and %v, next %q", idsOf(first), idsOf(last), last.Next)
	}
}

// A page by time alone reads about its own events, and nothing else of the day, except
// the keys after the last one. So does the statement that is shown.
func TestSearch_TimeReadsNothingElse(t *testing.T) {
	pool := daily(t, 150, 200000)
	a := admin.New(pool)
	// blocks is how many blocks of tables and indexes fn reads; concurrent work can
	// only add to them.
	blocks := func(fn func()) int {
		least := math.MaxInt
		for range 3 {
			const blocksSQL = `SELECT sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0))::int FROM pg_statio_user_tables WHERE relname ~ '^event_(2|d)'`
			sqltest.Exec(t, pool, `SELECT pg_stat_force_next_flush()`)
			before := sqltest.Ask1[int](t, pool, blocksSQL)
			fn()
			sqltest.Exec(t, pool, `SELECT pg_stat_force_next_flush()`)
			least = min(least, sqltest.Ask1[int](t, pool, blocksSQL)-before)
		}
		return least
	}
	whole := blocks(func() {
		sqltest.Exec(t, pool, `SELECT count(*) FROM outcrier.event WHERE id > 0 AND created_at > '2020-11-20 04:00+00'`)
	})
	for name, test := range map[string]struct {
		admin.Search
		events int
	}{
		"half a day":        {admin.Search{From: at(1, 0, 0), Until: at(12, 0, 0)}, 50},
		"until":             {admin.Search{Until: at(4, 0, 0)}, 50},
		"from":              {admin.Search{From: at(4, 0, 0)}, 50},
		"ten seconds":       {admin.Search{From: at(4, 0, 0), Until: at(4, 0, 10)}, 25},
		"the first seconds": {admin.Search{Until: at(0, 0, 10)}, 24},
		"the last seconds":  {admin.Search{From: at(22, 13, 10)}, 26},
		"no time":           {admin.Search{From: at(4, 0, 0), Until: at(4, 0, 0)}, 0},
		"nothing of a day":  {admin.Search{From: at(23, 0, 0), Until: at(23, 30, 0)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			test.Limit = 50
			begins := blocks(func() {
				for _, time := range []time.Time{test.From.Add(-time.Minute), test.Until.Add(time.Minute)} {
					if time.Year() > 1 {
						sqltest.Ask1[int64](t, pool, `SELECT outcrier.id_at($1::timestamptz)`, time)
					}
				}
			})
			var found admin.Found
			read := blocks(func() { found = search(t, a, test.Search) })
			if len(found.Events) != test.events || found.Further || found.Next == "" == (test.events == 50) {
				t.Fatalf("%d events, want %d; next %q, further %v", len(found.Events), test.events, found.Next, found.Further)
			}
			shown := blocks(func() { sqltest.Exec(t, pool, found.SQL) })
			most := 200
			if test.events < 50 { // the last page looks among the keys of the day for events out of step
				most += whole
			}
			if read-begins > most || shown > 100 || whole < 600 {
				t.Errorf("of %d blocks it reads %d beside those of outcrier.id_at, and the statement that is shown %d", whole, read-begins, shown)
			}
		})
	}
}

// The pages of a time hold each of its events once, however far ids and times are out
// of step, and whatever is appended meanwhile; the statement of each gives the same.
// The newest is first as long as ids and times are within a minute of each other.
func TestSearch_PagesByTimeHoldEachEventOnce(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Partitions(t, pool, "2020-11-20", "2020-11-21")
	a := admin.New(pool)
	start := at(12, 0, 0)
	const fillSQL = `INSERT INTO outcrier.event (id, topic, type, created_at)
		SELECT n, 'a', 't', $1::timestamptz + CASE WHEN n % 40 = $2 THEN random() * interval '24 h' ELSE n * interval '1 min' + random() * interval '1 min' END
		FROM generate_series(1, 1440) AS n WHERE n % 7 <> 0`
	for name, stray := range map[string]int{"in step": -1, "out of step": 0} {
		t.Run(name, func(t *testing.T) {
			sqltest.Exec(t, pool, `TRUNCATE outcrier.event`)
			sqltest.Exec(t, pool, fillSQL, start, stray)
			for range 15 {
				s := admin.Search{Limit: 30 + rand.N(171)}
				from := start.Add(rand.N(30*time.Hour) - 3*time.Hour)
				until := from.Add(rand.N([]time.Duration{time.Second, time.Minute, time.Hour, 9 * time.Hour}[rand.N(4)]))
				if rand.N(4) > 0 {
					s.From = from
				}
				if rand.N(4) > 0 {
					s.Until = until
				}
				if rand.N(4) == 0 {
					s.Type = "t"
				}
				const wantSQL = `SELECT id FROM outcrier.history WHERE created_at >= $1 AND ($2 OR created_at < $3) ORDER BY id DESC`
				want := sqltest.Ask[int64](t, pool, wantSQL, s.From, s.Until.IsZero(), s.Until)
				var got []int64
				for pages := 0; pages == 0 || s.Cursor != ""; pages++ {
					a.SearchFor([]time.Duration{-1, time.Minute}[rand.N(2)])
					found := search(t, a, s)
					ids := idsOf(found)
					if shown := sqltest.Ask[int64](t, pool, `SELECT id FROM (`+strings.TrimSuffix(found.SQL, ";")+`) AS shown`); !slices.Equal(shown, ids) {
						t.Fatalf("%+v is a page of %v, and its statement gives %v:\n%s", s, ids, shown, found.SQL)
					}
					got, s.Cursor = append(got, ids...), found.Next
					sqltest.Exec(t, pool, `INSERT INTO outcrier.event (id, topic, type, created_at) VALUES ($1, 'a', 't', $2)`, 10001+pages, from)
				}
				if stray == 0 {
					slices.SortFunc(got, func(a, b int64) int { return int(b - a) })
				}
				if !slices.Equal(got, want) {
					t.Fatalf("from %s until %s, %d a page, are %d events, want %d", s.From, s.Until, s.Limit, len(got), len(want))
				}
				sqltest.Exec(t, pool, `DELETE FROM outcrier.event WHERE id > 10000`)
			}
		})
	}
}
