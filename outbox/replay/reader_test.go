package replay_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
)

func TestVerify_GivesTheReasonOfAGap(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, pool *pgxpool.Pool, p *position.Position)
		want   position.Reason
	}{
		"nothing happened":      {func(*testing.T, *pgxpool.Pool, *position.Position) {}, ""},
		"more was appended":     {func(t *testing.T, pool *pgxpool.Pool, _ *position.Position) { sqltest.AddNow(t, pool, "b", 2) }, ""},
		"of another history":    {func(_ *testing.T, _ *pgxpool.Pool, p *position.Position) { p.History++ }, position.OtherHistory},
		"of another past":       {func(_ *testing.T, _ *pgxpool.Pool, p *position.Position) { p.Anchor.Hash++ }, position.OtherHistory},
		"removed in the future": {func(_ *testing.T, _ *pgxpool.Pool, p *position.Position) { p.Removal = 7 }, position.OtherHistory},
		"ahead":                 {func(_ *testing.T, _ *pgxpool.Pool, p *position.Position) { p.Given.Max += 1000; p.Anchor.XID += 1000 }, position.Ahead},
		"far ahead": {func(_ *testing.T, _ *pgxpool.Pool, p *position.Position) {
			p.Given.Max = 1 << 62
			p.Anchor.XID = 1 << 62
		}, position.Ahead},
		"the row it stands on": {func(t *testing.T, pool *pgxpool.Pool, _ *position.Position) {
			sqltest.Lose(t, pool, `id = (SELECT max(id) FROM outcrier.event)`)
		}, position.OtherHistory},
		"the whole transaction": {func(t *testing.T, pool *pgxpool.Pool, p *position.Position) {
			sqltest.Lose(t, pool, `xid = $1`, p.Given.Max)
		}, position.OtherHistory},
		"the table was truncated": {func(t *testing.T, pool *pgxpool.Pool, _ *position.Position) {
			sqltest.Exec(t, pool, `TRUNCATE outcrier.event`)
		}, position.OtherHistory},
		"the row is another": {func(t *testing.T, pool *pgxpool.Pool, _ *position.Position) {
			sqltest.Exec(t, pool, `UPDATE outcrier.event SET created_at = created_at + interval '1 microsecond' WHERE id = (SELECT max(id) FROM outcrier.event)`)
		}, position.OtherHistory},
		"its xid was given out again": {func(t *testing.T, pool *pgxpool.Pool, p *position.Position) {
			sqltest.Exec(t, pool, `TRUNCATE outcrier.event`)
			sqltest.Forge(t, pool, `INSERT INTO outcrier.event (xid, topic, type) VALUES ($1, 'a', 'other')`, p.Given.Max)
		}, position.OtherHistory},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := outboxtest.New(t)
			sqltest.AddNow(t, pool, "a", 2)
			sqltest.AddNow(t, pool, "a", 2)
			p := sqltest.Here(t, pool)
			test.change(t, pool, &p)
			got, gap, err := replay.Reader{Pool: pool}.Verify(t.Context(), p, sqltest.All("**"), position.Position{})
			switch {
			case err != nil:
				t.Fatal(err)
			case test.want == "":
				if gap != nil || got.String() != p.String() {
					t.Errorf("%+v, %s; want %s", gap, got, p)
				}
			case gap == nil || gap.Reason != test.want:
				t.Errorf("%+v, want reason %s", gap, test.want)
			case got.String() != position.Position{}.String():
				t.Errorf("the position after it is %s", got)
			}
		})
	}
}

func TestVerify_EmptyOutboxIsNoGap(t *testing.T) {
	pool := outboxtest.New(t)
	p := sqltest.Here(t, pool)
	if _, gap, err := (replay.Reader{Pool: pool}).Verify(t.Context(), p, sqltest.All("**"), position.Position{}); gap != nil || err != nil {
		t.Errorf("%+v, %v", gap, err)
	}
	want := sqltest.AddNow(t, pool, "a", 1)
	if _, gap, err := (replay.Reader{Pool: pool}).Verify(t.Context(), p, sqltest.All("**"), position.Position{}); gap != nil || err != nil {
		t.Errorf("later: %+v, %v", gap, err)
	}
	if got := sqltest.Replay(t, replay.Reader{Pool: pool}, p, sqltest.Here(t, pool), sqltest.All("a"), 10); !slices.Equal(got, want) {
		t.Errorf("replayed are %v, want %v", got, want)
	}
}

func TestReplay_SelectsAndPages(t *testing.T) {
	pool := outboxtest.New(t)
	reader := replay.Reader{Pool: pool}
	start := sqltest.Here(t, pool)
	topics := []string{"user/1", "user/2", "user/2/a", "audit", "[x]/$"}
	types := []string{"audit.approved", "audit.rejected", "trade.executed"}
	var events []outbox.Event
	for i := range 45 {
		topic, kind := topics[i%len(topics)], types[i%len(types)]
		id := sqltest.Ask1[int64](t, pool, `INSERT INTO outbox (topic, type) VALUES ($1, $2) RETURNING id`, topic, kind)
		events = append(events, outbox.Event{ID: id, Topic: topic, Type: kind})
	}
	end := sqltest.Here(t, pool)
	sqltest.AddNow(t, pool, "user/1", 3) // after the end
	for _, filter := range []outbox.Filter{
		sqltest.All("user/1"), sqltest.All("user/1", "user/2", "user/1"), sqltest.All("user/*"), sqltest.All("user/**"), sqltest.All("**"), sqltest.All("*"), sqltest.All("none"),
		sqltest.All("*/*", "user/1"), sqltest.All("[x]/$"), sqltest.All("[x]/*"), sqltest.All("user/*", "**"),
		{Topics: []outbox.Pattern{"user/1", "audit"}, Types: []string{"audit.*"}},
		{Topics: []outbox.Pattern{"**"}, Types: []string{"trade.executed", "audit.rejected"}},
		{Topics: []outbox.Pattern{"**"}, Types: []string{"none"}},
		{Topics: []outbox.Pattern{"audit"}, Types: []string{"none"}},
		{},
	} {
		var want []int64
		for _, e := range events {
			if filter.Match(e.Topic, e.Type) {
				want = append(want, e.ID)
			}
		}
		for _, limit := range []int{1, 2, 7, 1000} {
			if got := sqltest.Replay(t, reader, start, end, filter, limit); !slices.Equal(got, want) {
				t.Errorf("%v %v by %d: %v, want %v", filter.Topics, filter.Types, limit, got, want)
			}
		}
	}
}

// Topics of which there are many are looked for in another way than a few.
func TestReplay_OfManyTopicsAndOfManyEvents(t *testing.T) {
	pool := outboxtest.New(t)
	reader := replay.Reader{Pool: pool}
	late := sqltest.Begin(t, pool)
	owed := sqltest.Add(t, late, "busy")
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type) SELECT 'busy', 'before' FROM generate_series(1, 10100)`)
	start := sqltest.Here(t, pool)
	var busy, all20, under7 []int64
	for i := range 20 {
		for _, topic := range []string{"user/" + strconv.Itoa(i), "user/" + strconv.Itoa(i) + "/a", "busy"} {
			id := sqltest.AddNow(t, pool, topic, 1)[0]
			switch {
			case topic == "busy":
				busy = append(busy, id)
			case !strings.HasSuffix(topic, "/a"):
				all20 = append(all20, id)
			}
			if strings.HasPrefix(topic+"/", "user/7/") {
				under7 = append(under7, id)
			}
		}
	}
	sqltest.Commit(t, late)
	busy = append([]int64{owed}, busy...)
	end := sqltest.Here(t, pool)
	for topic, want := range map[outbox.Pattern][]int64{"busy": busy, "busy/**": busy, "user/*": all20, "user/7/**": under7, "user/7/*": under7[1:]} {
		for _, limit := range []int{3, 1000} {
			if got := sqltest.Replay(t, reader, start, end, sqltest.All(topic), limit); !slices.Equal(got, want) {
				t.Errorf("%s by %d: %v, want %v", topic, limit, got, want)
			}
		}
	}
}

func TestReplay_PagesHoldAboutAMegabyte(t *testing.T) {
	pool := outboxtest.New(t)
	reader := replay.Reader{Pool: pool}
	start := sqltest.Here(t, pool)
	want := sqltest.Ask[int64](t, pool, `INSERT INTO outbox (topic, type, payload)
		SELECT 'a', 't', to_json(repeat('p', 300000)) FROM generate_series(1, 10) RETURNING id`)
	end := sqltest.Here(t, pool)
	for _, filter := range []outbox.Filter{sqltest.All("a"), sqltest.All("**"), {Topics: []outbox.Pattern{"a"}, Types: []string{"t"}}} {
		page, err := reader.Replay(t.Context(), replay.Ranges(start, end)[0], filter, 1000, 0)
		if err != nil || len(page.Events) != 4 || page.Done {
			t.Errorf("a page of %d events of 300 kB, done %v, %v", len(page.Events), page.Done, err)
		}
		page, err = reader.Replay(t.Context(), replay.Ranges(start, end)[0], filter, 1000, 400_000)
		if err != nil || len(page.Events) != 2 || page.Done {
			t.Errorf("asked for 400 kB, a page of %d events of 300 kB, done %v, %v", len(page.Events), page.Done, err)
		}
		if got := sqltest.Replay(t, reader, start, end, filter, 1000); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

// Events come whole: every column.
func TestReplay_GivesEventsWhole(t *testing.T) {
	pool := outboxtest.New(t)
	start := sqltest.Here(t, pool)
	tx := sqltest.Begin(t, pool)
	_, err := outbox.Append(t.Context(), tx, outbox.Draft{Topic: "é", Type: "t", Payload: []byte(" {\"a\" : 1.0}\n"), Source: "/s", Headers: map[string]string{"h": "v"}})
	if err != nil {
		t.Fatal(err)
	}
	xid := sqltest.Ask1[uint64](t, tx, `SELECT pg_current_xact_id()`)
	sqltest.Commit(t, tx)
	page, err := replay.Reader{Pool: pool}.Replay(t.Context(), replay.Ranges(start, sqltest.Here(t, pool))[0], sqltest.All("**"), 10, 0)
	if err != nil || len(page.Events) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	e := page.Events[0]
	if e.XID != xid || e.Topic != "é" || e.Type != "t" || string(e.Payload) != " {\"a\" : 1.0}\n" || e.Source != "/s" || e.Headers["h"] != "v" {
		t.Errorf("%+v", e)
	}
	if at := sqltest.Ask1[time.Time](t, pool, `SELECT created_at FROM outcrier.event`); !e.CreatedAt.Equal(at) || e.CreatedAt.Location() != time.UTC {
		t.Errorf("created at %v, want %v", e.CreatedAt, at)
	}
}

func TestReader_EarliestAndOldest(t *testing.T) {
	pool := outboxtest.New(t)
	reader := replay.Reader{Pool: pool}
	if since, err := reader.Oldest(t.Context()); !since.IsZero() || err != nil {
		t.Errorf("of nothing the oldest is %v, %v", since, err)
	}
	want := sqltest.AddNow(t, pool, "a", 2)
	p := sqltest.Earliest(t, reader)
	if got := sqltest.Replay(t, reader, p, sqltest.Here(t, pool), sqltest.All("**"), 10); !slices.Equal(got, want) {
		t.Errorf("from the earliest on: %v, want %v", got, want)
	}
	if since, err := reader.Oldest(t.Context()); err != nil || !since.Equal(sqltest.Ask1[time.Time](t, pool, `SELECT min(created_at) FROM outcrier.event`)) {
		t.Errorf("the oldest is of %v, %v", since, err)
	}
}

// Since a time are all events from then on, of late commits too, and with the
// filter's Since none of before.
func TestReader_BeforeATime(t *testing.T) {
	pool := outboxtest.New(t)
	reader := replay.Reader{Pool: pool}
	late := sqltest.Begin(t, pool)
	var ids []int64
	var times []time.Time
	note := func(id int64) { ids = append(ids, id) }
	note(sqltest.Add(t, late, "late"))
	for range 4 {
		note(sqltest.AddNow(t, pool, "a", 1)[0])
	}
	note(sqltest.Add(t, late, "late"))
	sqltest.Commit(t, late)
	note(sqltest.AddNow(t, pool, "a", 1)[0])
	for _, id := range ids {
		times = append(times, sqltest.Ask1[time.Time](t, pool, `SELECT created_at FROM outcrier.event WHERE id = $1`, id))
	}
	for i, at := range append(times, times[len(times)-1].Add(time.Microsecond)) {
		p, err := reader.Before(t.Context(), at, position.Position{})
		if err != nil {
			t.Fatal(err)
		}
		filter := sqltest.All("**")
		filter.Since = at
		if got := sqltest.Replay(t, reader, p, sqltest.Here(t, pool), filter, 2); !slices.Equal(got, ids[i:]) {
			t.Errorf("since event %d: %v, want %v", i, got, ids[i:])
		}
		if _, gap, err := reader.Verify(t.Context(), p, sqltest.All("**"), position.Position{}); gap != nil || err != nil {
			t.Errorf("since event %d: %+v, %v", i, gap, err)
		}
	}
}

// A position within a transaction that was in flight goes on exactly.
func TestReplay_LateCommitsAreNeitherLostNorRepeated(t *testing.T) {
	pool := outboxtest.New(t)
	reader := replay.Reader{Pool: pool}
	start := sqltest.Here(t, pool)
	one, two := sqltest.Begin(t, pool), sqltest.Begin(t, pool)
	a, b := sqltest.Add(t, one, "a"), sqltest.Add(t, two, "b")
	c := sqltest.AddNow(t, pool, "c", 1)[0]
	p1 := sqltest.Here(t, pool)
	sqltest.Commit(t, two)
	p2 := sqltest.Here(t, pool)
	sqltest.Commit(t, one)
	end := sqltest.Here(t, pool)
	for name, test := range map[string]struct {
		from, to position.Position
		want     []int64
	}{
		"start to first":  {start, p1, []int64{c}},
		"first to second": {p1, p2, []int64{b}},
		"second to end":   {p2, end, []int64{a}},
		"first to end":    {p1, end, []int64{a, b}},
		"start to end":    {start, end, []int64{a, b, c}},
		"end to first":    {end, p1, nil},
	} {
		for _, filter := range []outbox.Filter{sqltest.All("**"), sqltest.All("a", "b", "c")} {
			if got := sqltest.Replay(t, reader, test.from, test.to, filter, 1); !slices.Equal(got, test.want) {
				t.Errorf("%s: %v, want %v", name, got, test.want)
			}
		}
	}
}
