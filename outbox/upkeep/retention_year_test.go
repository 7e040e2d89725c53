package upkeep_test

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/upkeep"
)

// Half a year of daily turns (a year in make test-long), with busy days and quiet weeks, the nodes
// off for a fortnight, and the clock back by a day. Readers leave at any time, in the midst of a read too,
// and come back days or months later. Each must get a gap if and only if an event of
// its topics that it had not received is gone; and it must receive the remaining
// events.
func TestRetention_AYear(t *testing.T) {
	y := year{T: t, pool: outboxtest.New(t), random: rand.New(rand.NewPCG(1, 2))}
	y.reader = replay.Reader{Pool: y.pool}
	days := 182
	if testkit.Long() {
		days = 365
	}
	start := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -days-35).Add(12 * time.Hour)
	for day := range days {
		y.now = start.AddDate(0, 0, day)
		if day == 100 {
			y.now = y.now.AddDate(0, 0, -1)
		}
		if quiet := day >= 130 && day < 150; !quiet {
			y.append()
		}
		y.leave()
		if off := day >= 50 && day < 64; !off {
			y.turn()
			if day == 49 || day == 70 {
				y.partitioned()
			}
		}
		if day == 149 && y.count(`SELECT count(*) FROM outcrier.event`) == 0 {
			t.Error("a quiet system has lost its newest event")
		}
		y.comeBack(len(y.left) - 25)
	}
	y.settle()
	y.turn()
	y.comeBack(len(y.left))
	t.Logf("%d events, %d removed; %d came back: %d whole, %d told of a gap, %d of one that was too long ago to know",
		len(y.events), len(y.events)-y.count(`SELECT count(*) FROM outcrier.event`), y.whole+y.gaps+y.vague, y.whole, y.gaps, y.vague)
	if y.whole < 100 || y.gaps < 100 || y.vague == 0 {
		t.Error("too few of a kind to prove anything")
	}
}

const yearKeep = 7 * 24 * time.Hour

// year is one that is played.
type year struct {
	*testing.T
	pool   *pgxpool.Pool
	reader replay.Reader
	random *rand.Rand
	now    time.Time
	events []yearEvent // all that were committed
	last   int64       // the largest id among them
	open   []pgx.Tx    // have an xid, and no event yet
	left   []departed

	whole, gaps, vague int
}

// yearEvent is an event, and which of yearFilters select it, a bit for each.
type yearEvent struct {
	xid      uint64
	id       int64
	selected uint
}

// departed is a reader who left, with one of yearFilters.
type departed struct {
	at     position.Position
	filter int
	when   time.Time
}

var yearFilters = []outbox.Filter{sqltest.All("rare"), sqltest.All("presence/**"), sqltest.All("order/*"), sqltest.All("order/1", "rare"), sqltest.All("presence/*/d"), sqltest.All("**"), sqltest.All("*/1"), sqltest.All("none/**")}

// append is a day's business.
func (y *year) append() {
	n := y.random.IntN(12)
	if y.random.IntN(4) == 0 {
		n = 0
	}
	for range n {
		switch tx := sqltest.Begin(y, y.pool); {
		case y.random.IntN(8) == 0 && len(y.open) < 2: // the pool has few connections
			sqltest.Exec(y, tx, `SELECT pg_current_xact_id()`)
			y.open = append(y.open, tx)
		default:
			y.commit(tx)
		}
	}
	if n > 8 {
		y.settle()
	}
}

// commit appends in tx, to a few topics at once, and commits.
func (y *year) commit(tx pgx.Tx) {
	topics := []string{"order/1", "order/2", "presence/a", "presence/b", "presence/c/d", "rare"}
	weights := []int{6, 6, 9, 9, 9, 1}
	var added []yearEvent
	for range 1 + y.random.IntN(3) {
		i := y.random.IntN(len(topics))
		if y.random.IntN(9) >= weights[i] {
			continue
		}
		at := y.now.Add(time.Duration(y.random.IntN(180)-170) * time.Minute)
		var e yearEvent
		if err := tx.QueryRow(y.Context(), `INSERT INTO outcrier.event (topic, type, created_at) VALUES ($1, 't', $2) RETURNING xid, id`,
			topics[i], at).Scan(&e.xid, &e.id); err != nil {
			y.Fatal(err)
		}
		for bit, filter := range yearFilters {
			if filter.Match(topics[i], "t") {
				e.selected |= 1 << bit
			}
		}
		added = append(added, e)
	}
	sqltest.Commit(y, tx)
	for _, e := range added {
		y.events = append(y.events, e)
		y.last = max(y.last, e.id)
	}
}

// settle ends the transactions that are open.
func (y *year) settle() {
	for _, tx := range y.open {
		if y.random.IntN(3) == 0 {
			if err := tx.Rollback(context.Background()); err != nil {
				y.Fatal(err)
			}
			continue
		}
		y.commit(tx)
	}
	y.open = nil
}

// leave has readers leave: one between reads, one in the midst of one.
func (y *year) leave() {
	pick := func() int { return y.random.IntN(len(yearFilters)) }
	from := sqltest.Here(y, y.pool)
	y.left = append(y.left, departed{from, pick(), y.now})
	before := len(y.events)
	y.commit(sqltest.Begin(y, y.pool))
	y.commit(sqltest.Begin(y, y.pool))
	if len(y.events) < before+2 {
		return
	}
	rng := replay.Range{From: from, To: sqltest.Here(y, y.pool)}
	y.left = append(y.left, departed{rng.At(y.last - 1), pick(), y.now})
}

func (y *year) turn() {
	rules := []upkeep.Rule{{Pattern: "presence/**", Keep: time.Hour}, {Pattern: "order/2", Keep: 48 * time.Hour}}
	past := func() int {
		return y.count(`SELECT count(*) FROM outcrier.event WHERE xid < (SELECT max(xid) FROM outcrier.event) AND (
			created_at < $1 AND tableoid <> (SELECT tableoid FROM outcrier.event ORDER BY xid DESC LIMIT 1)
			OR created_at < $2 AND topic LIKE 'presence/%')`, y.now.Add(-yearKeep-24*time.Hour), y.now.Add(-7*time.Hour))
	}
	// More than once where autovacuum had the lock.
	for try := 0; try == 0 || past() > 0; try++ {
		if try == 50 {
			y.Fatalf("%v: %d events are past and still there", y.now, past())
		}
		retainAt(y, y.pool, yearKeep, rules, y.now)
	}
}

// partitioned sees that all is in partitions of a day.
func (y *year) partitioned() {
	if n := y.count(`SELECT count(*) FROM outcrier.event_default`); n > 0 {
		y.Errorf("%v: %d events are in the DEFAULT partition", y.now, n)
	}
}

func (y *year) count(sql string, args ...any) int { return sqltest.Ask1[int](y, y.pool, sql, args...) }

// comeBack has some of those who left come back, each once.
func (y *year) comeBack(n int) {
	held := map[int64]bool{}
	for _, id := range sqltest.Ask[int64](y, y.pool, `SELECT id FROM outcrier.event`) {
		held[id] = true
	}
	for range n {
		i := y.random.IntN(len(y.left))
		who := y.left[i]
		y.left = slices.Delete(y.left, i, i+1)
		var gone, rest []int64
		for _, e := range y.events {
			switch {
			case e.selected>>who.filter&1 == 0 || who.at.Has(e.xid, e.id):
			case held[e.id]:
				rest = append(rest, e.id)
			default:
				gone = append(gone, e.id)
			}
		}
		filter := yearFilters[who.filter]
		slices.Sort(rest)
		p, gap, err := y.reader.Verify(y.Context(), who.at, filter, position.Position{})
		switch {
		case err != nil:
			y.Fatal(err)
		case gap != nil && gap.Reason != position.Trimmed:
			y.Fatalf("%v, left %v: %+v", y.now, who.when, gap)
		case gap == nil && len(gone) > 0:
			y.Fatalf("%v, left %v, asks for %v: gone are %v, and nobody says so", y.now, who.when, filter.Topics, gone)
		case gap == nil:
			y.whole++
		case len(gone) > 0:
			y.gaps++
		case y.now.Sub(who.when) > 30*24*time.Hour:
			y.vague++
		default:
			y.Fatalf("%v, left %v, asks for %v: told of a gap, and nothing of it is gone; %+v", y.now, who.when, filter.Topics, who.at)
		}
		got := y.replay(p, filter)
		if !slices.Equal(got, rest) {
			y.Fatalf("%v, left %v, asks for %v: given %v, and left are %v", y.now, who.when, filter.Topics, got, rest)
		}
		if _, again, err := y.reader.Verify(y.Context(), p, filter, position.Position{}); err != nil || again != nil && y.now.Sub(who.when) < 30*24*time.Hour {
			y.Fatalf("told twice: %+v, %v", again, err)
		}
	}
}

func (y *year) replay(p position.Position, filter outbox.Filter) []int64 {
	var ids []int64
	for _, rng := range replay.Ranges(p, sqltest.Here(y, y.pool)) {
		for done := false; !done; {
			page, err := y.reader.Replay(y.Context(), rng, filter, 50, 0)
			if err != nil {
				y.Fatal(err)
			}
			for _, e := range page.Events {
				ids = append(ids, e.ID)
			}
			rng.After, done = page.After, page.Done
		}
	}
	slices.SortFunc(ids, cmp.Compare[int64])
	return ids
}
