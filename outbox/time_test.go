package outbox_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

const idAtSQL = `SELECT outbox_id_at($1::timestamptz)`

// The id that it gives parts what was appended before from what came later, but for
// what overlaps; in partitions, in the DEFAULT one, and on days without events.
func TestIDAt_IsWhereATimeBegins(t *testing.T) {
	pool := outboxtest.New(t)
	for _, at := range []string{"2020-11-20", "-infinity", "infinity"} {
		if id := ask1[int64](t, pool, idAtSQL, at); id != math.MaxInt64 {
			t.Errorf("of nothing %s begins at %d", at, id)
		}
	}
	exec(t, pool, `SELECT outbox_day('2020-11-20'), outbox_day('2020-11-21'), outbox_day('2020-11-22')`)
	// Each id has a time that is up to 30 s off its place; some ids are missing, and
	// so is the 23rd. The 24th is in the DEFAULT partition.
	exec(t, pool, `INSERT INTO outbox (id, topic, type, created_at)
		SELECT n, 'a', 't', '2020-11-20 00:00+00'::timestamptz + n * interval '1 minute' + random() * interval '30 s'
		FROM generate_series(1, 5 * 1440) AS n WHERE n % 7 <> 0 AND n / 1440 <> 3`)
	first := time.Date(2020, 11, 20, 0, 0, 0, 0, time.UTC)
	for range 200 {
		minute := rand.N[int64](6*1440) - 720
		at := first.Add(time.Duration(minute) * time.Minute).Add(rand.N(time.Minute))
		id := ask1[int64](t, pool, idAtSQL, at)
		const wrongSQL = `SELECT count(*) FROM outbox WHERE id >= $2 AND created_at < $1::timestamptz - interval '1 minute' OR id < $2 AND created_at > $1::timestamptz + interval '1 minute'`
		if wrong := ask1[int](t, pool, wrongSQL, at, id); wrong != 0 {
			t.Errorf("%s begins at %d: %d events lie on the wrong side", at, id, wrong)
		}
		if there := ask1[int](t, pool, `SELECT count(*) FROM outbox WHERE id >= $2 AND created_at >= $1::timestamptz`, at, id); there == 0 && id < 5*1440 {
			t.Errorf("%s begins at %d, where nothing is", at, id)
		}
	}
	if id := ask1[int64](t, pool, idAtSQL, "-infinity"); id != 1 {
		t.Errorf("it all begins at %d", id)
	}
}

// A search before a time looks at nothing that came later but once, and finds what
// is there for all that: an event that has an early time and a late id.
func TestSearch_BeginsAtItsTime(t *testing.T) {
	pool := outboxtest.New(t)
	exec(t, pool, `SELECT outbox_day('2020-11-20')`)
	exec(t, pool, `INSERT INTO outbox (id, topic, type, created_at)
		SELECT n, 'a', CASE n WHEN 17 THEN 'rare' ELSE 't' END, '2020-11-20 00:00+00'::timestamptz + n * interval '1 s' FROM generate_series(1, 50000) AS n`)
	admin := outbox.NewAdmin(pool)
	admin.SearchFor(-1)
	until := time.Date(2020, 11, 20, 5, 0, 0, 0, time.UTC)
	const bound = 5*3600 + 60
	found := search(t, admin, outbox.Search{Type: "rare", Until: until})
	if !found.Further || found.ScannedTo != bound-1024 {
		t.Errorf("it looked back to %d, further %v", found.ScannedTo, found.Further)
	}
	exec(t, pool, `INSERT INTO outbox (id, topic, type, created_at) VALUES (60000, 'a', 'rare', '2020-11-20 01:00+00')`)
	var got []int64
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		found = search(t, admin, outbox.Search{Type: "rare", Until: until, Limit: 1, Cursor: cursor})
		got, cursor = append(got, idsOf(found)...), found.Next
	}
	if want := []int64{60000, 17}; !slices.Equal(got, want) {
		t.Errorf("found are %v, want %v", got, want)
	}
}
