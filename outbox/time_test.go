package outbox_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

const idAtSQL = `SELECT outcrier.id_at($1::timestamptz)`

// The id that it returns separates earlier appends from later ones, except overlapping
// ones; in partitions, in the DEFAULT one, and on days without events.
func TestIDAt_IsWhereATimeBegins(t *testing.T) {
	pool := outboxtest.New(t)
	for _, at := range []string{"2020-11-20", "-infinity", "infinity"} {
		if id := sqltest.Ask1[int64](t, pool, idAtSQL, at); id != math.MaxInt64 {
			t.Errorf("of nothing %s begins at %d", at, id)
		}
	}
	sqltest.Partitions(t, pool, "2020-11-20", "2020-11-21", "2020-11-22")
	// Each id has a time that is up to 30 s off its place; some ids are missing, and
	// so is the 23rd. The 24th is in the DEFAULT partition.
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (id, topic, type, created_at)
		SELECT n, 'a', 't', '2020-11-20 00:00+00'::timestamptz + n * interval '1 minute' + random() * interval '30 s'
		FROM generate_series(1, 5 * 1440) AS n WHERE n % 7 <> 0 AND n / 1440 <> 3`)
	first := time.Date(2020, 11, 20, 0, 0, 0, 0, time.UTC)
	for range 200 {
		minute := rand.N[int64](6*1440) - 720
		at := first.Add(time.Duration(minute) * time.Minute).Add(rand.N(time.Minute))
		id := sqltest.Ask1[int64](t, pool, idAtSQL, at)
		const wrongSQL = `SELECT count(*) FROM outcrier.event WHERE id >= $2 AND created_at < $1::timestamptz - interval '1 minute' OR id < $2 AND created_at > $1::timestamptz + interval '1 minute'`
		if wrong := sqltest.Ask1[int](t, pool, wrongSQL, at, id); wrong != 0 {
			t.Errorf("%s begins at %d: %d events lie on the wrong side", at, id, wrong)
		}
		if there := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event WHERE id >= $2 AND created_at >= $1::timestamptz`, at, id); there == 0 && id < 5*1440 {
			t.Errorf("%s begins at %d, where nothing is", at, id)
		}
	}
	if id := sqltest.Ask1[int64](t, pool, idAtSQL, "-infinity"); id != 1 {
		t.Errorf("it all begins at %d", id)
	}
}
