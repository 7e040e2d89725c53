package outbox_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

const idAtSQL = `SELECT outcrier.id_at($1::timestamptz)`

// The id that it returns separates earlier appends from later ones, except overlapping
// ones; in partitions, in the DEFAULT one, and on days without events.
func TestIDAt_IsWhereATimeBegins(t *testing.T) {
	pool := outboxtest.New(t)
	for _, at := range []string{"2020-11-20", "-infinity", "infinity"} {
		if id := ask1[int64](t, pool, idAtSQL, at); id != math.MaxInt64 {
			t.Errorf("of nothing %s begins at %d", at, id)
		}
	}
	partitions(t, pool, "2020-11-20", "2020-11-21", "2020-11-22")
	// Each id has a time that is up to 30 s off its place; some ids are missing, and
	// so is the 23rd. The 24th is in the DEFAULT partition.
	exec(t, pool, `INSERT INTO outcrier.event (id, topic, type, created_at)
		SELECT n, 'a', 't', '2020-11-20 00:00+00'::timestamptz + n * interval '1 minute' + random() * interval '30 s'
		FROM generate_series(1, 5 * 1440) AS n WHERE n % 7 <> 0 AND n / 1440 <> 3`)
	first := time.Date(2020, 11, 20, 0, 0, 0, 0, time.UTC)
	for range 200 {
		minute := rand.N[int64](6*1440) - 720
		at := first.Add(time.Duration(minute) * time.Minute).Add(rand.N(time.Minute))
		id := ask1[int64](t, pool, idAtSQL, at)
		const wrongSQL = `SELECT count(*) FROM outcrier.event WHERE id >= $2 AND created_at < $1::timestamptz - interval '1 minute' OR id < $2 AND created_at > $1::timestamptz + interval '1 minute'`
		if wrong := ask1[int](t, pool, wrongSQL, at, id); wrong != 0 {
			t.Errorf("%s begins at %d: %d events lie on the wrong side", at, id, wrong)
		}
		if there := ask1[int](t, pool, `SELECT count(*) FROM outcrier.event WHERE id >= $2 AND created_at >= $1::timestamptz`, at, id); there == 0 && id < 5*1440 {
			t.Errorf("%s begins at %d, where nothing is", at, id)
		}
	}
	if id := ask1[int64](t, pool, idAtSQL, "-infinity"); id != 1 {
		t.Errorf("it all begins at %d", id)
	}
}

// daily is a day of so many events a minute, until it has count; they begin with id 1.
func daily(t *testing.T, minutely, count int) *pgxpool.Pool {
	t.Helper()
	pool := outboxtest.Pool(t, outboxtest.URL(t)+"&pool_max_conns=1") // whose counts are flushed
	partitions(t, pool, "2020-11-20")
	exec(t, pool, `INSERT INTO outcrier.event (id, topic, type, created_at)
		SELECT n, 'a', CASE n WHEN 17 THEN 'rare' ELSE 't' END, '2020-11-20 00:00+00'::timestamptz + n * interval '1 min' / $1::int FROM generate_series(1, $2) AS n`, minutely, count)
	exec(t, pool, `VACUUM (ANALYZE) outcrier.event`)
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
	admin := outbox.NewAdmin(pool)
	admin.SearchFor(-1)
	until := at(5, 0, 0)
	const bound = 5*3600 + 60
	found := search(t, admin, outbox.Search{Type: "rare", Until: until})
	if !found.Further || found.ScannedTo != bound-1024 {
		t.Errorf("it looked back to %d, further %v", found.ScannedTo, found.Further)
	}
	exec(t, pool, `INSERT INTO outcrier.event (id, topic, type, created_at) VALUES (60000, 'a', 'rare', '2020-11-20 01:00+00')`)
	var got []int64
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		found = search(t, admin, outbox.Search{Type: "rare", Until: until, Limit: 1, Cursor: cursor})
		got, cursor = append(got, idsOf(found)...), found.Next
	}
	if want := []int64{17, 60000}; !slices.Equal(got, want) {
		t.Errorf("found are %v, want %v", got, want)
	}
	// The last page of all says that it is, with nothing more to click for.
	admin.SearchFor(time.Minute)
	first := search(t, admin, outbox.Search{From: at(1, 0, 0), Until: at(1, 0, 2)})
	last := search(t, admin, outbox.Search{From: at(1, 0, 0), Until: at(1, 0, 2), Cursor: first.Next})
	if !slices.Equal(idsOf(first), []int64{3601, 3600}) || !slices.Equal(idsOf(last), []int64{60000}) || last.Next != "" {
		t.Errorf("the pages are %v and %v, next %q", idsOf(first), idsOf(last), last.Next)
	}
}

// A page by time alone reads about its own events, and nothing else of the day, except
// the keys after the last one. So does the statement that is shown.
func TestSearch_TimeReadsNothingElse(t *testing.T) {
	pool := daily(t, 150, 200000)
	admin := outbox.NewAdmin(pool)
	// blocks is how many blocks of tables and indexes fn reads; concurrent work can
	// only add to them.
	blocks := func(fn func()) int {
		least := math.MaxInt
		for range 3 {
			const blocksSQL = `SELECT sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0))::int FROM pg_statio_user_tables WHERE relname ~ '^event_(2|d)'`
			exec(t, pool, `SELECT pg_stat_force_next_flush()`)
			before := ask1[int](t, pool, blocksSQL)
			fn()
			exec(t, pool, `SELECT pg_stat_force_next_flush()`)
			least = min(least, ask1[int](t, pool, blocksSQL)-before)
		}
		return least
	}
	whole := blocks(func() {
		exec(t, pool, `SELECT count(*) FROM outcrier.event WHERE id > 0 AND created_at > '2020-11-20 04:00+00'`)
	})
	for name, test := range map[string]struct {
		outbox.Search
		events int
	}{
		"half a day":        {outbox.Search{From: at(1, 0, 0), Until: at(12, 0, 0)}, 50},
		"until":             {outbox.Search{Until: at(4, 0, 0)}, 50},
		"from":              {outbox.Search{From: at(4, 0, 0)}, 50},
		"ten seconds":       {outbox.Search{From: at(4, 0, 0), Until: at(4, 0, 10)}, 25},
		"the first seconds": {outbox.Search{Until: at(0, 0, 10)}, 24},
		"the last seconds":  {outbox.Search{From: at(22, 13, 10)}, 26},
		"no time":           {outbox.Search{From: at(4, 0, 0), Until: at(4, 0, 0)}, 0},
		"nothing of a day":  {outbox.Search{From: at(23, 0, 0), Until: at(23, 30, 0)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			test.Limit = 50
			begins := blocks(func() {
				for _, time := range []time.Time{test.From.Add(-time.Minute), test.Until.Add(time.Minute)} {
					if time.Year() > 1 {
						ask1[int64](t, pool, idAtSQL, time)
					}
				}
			})
			var found outbox.Found
			read := blocks(func() { found = search(t, admin, test.Search) })
			if len(found.Events) != test.events || found.Further || found.Next == "" == (test.events == 50) {
				t.Fatalf("%d events, want %d; next %q, further %v", len(found.Events), test.events, found.Next, found.Further)
			}
			shown := blocks(func() { exec(t, pool, found.SQL) })
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
	partitions(t, pool, "2020-11-20", "2020-11-21")
	admin := outbox.NewAdmin(pool)
	start := at(12, 0, 0)
	const fillSQL = `INSERT INTO outcrier.event (id, topic, type, created_at)
		SELECT n, 'a', 't', $1::timestamptz + CASE WHEN n % 40 = $2 THEN random() * interval '24 h' ELSE n * interval '1 min' + random() * interval '1 min' END
		FROM generate_series(1, 1440) AS n WHERE n % 7 <> 0`
	for name, stray := range map[string]int{"in step": -1, "out of step": 0} {
		t.Run(name, func(t *testing.T) {
			exec(t, pool, `TRUNCATE outcrier.event`)
			exec(t, pool, fillSQL, start, stray)
			for range 15 {
				s := outbox.Search{Limit: 30 + rand.N(171)}
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
				want := ask[int64](t, pool, wantSQL, s.From, s.Until.IsZero(), s.Until)
				var got []int64
				for pages := 0; pages == 0 || s.Cursor != ""; pages++ {
					admin.SearchFor([]time.Duration{-1, time.Minute}[rand.N(2)])
					found := search(t, admin, s)
					ids := idsOf(found)
					if shown := ask[int64](t, pool, `SELECT id FROM (`+strings.TrimSuffix(found.SQL, ";")+`) AS shown`); !slices.Equal(shown, ids) {
						t.Fatalf("%+v is a page of %v, and its statement gives %v:\n%s", s, ids, shown, found.SQL)
					}
					got, s.Cursor = append(got, ids...), found.Next
					exec(t, pool, `INSERT INTO outcrier.event (id, topic, type, created_at) VALUES ($1, 'a', 't', $2)`, 10001+pages, from)
				}
				if stray == 0 {
					slices.SortFunc(got, func(a, b int64) int { return int(b - a) })
				}
				if !slices.Equal(got, want) {
					t.Fatalf("from %s until %s, %d a page, are %d events, want %d", s.From, s.Until, s.Limit, len(got), len(want))
				}
				exec(t, pool, `DELETE FROM outcrier.event WHERE id > 10000`)
			}
		})
	}
}
