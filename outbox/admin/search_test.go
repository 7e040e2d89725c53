package admin_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// nasty are texts that mean something to SQL, to LIKE, or to code that puts statements
// together.
var nasty = []string{
	`'`, `''`, `"`, `\`, `\'`, `\\'`, `'; DROP TABLE outbox; --`, `' OR '1'='1`, `'); DELETE FROM outcrier.stream; --`, `$1`, `$2 $3`, `?`, `?; ?`,
	`%`, `_`, `100%`, `a_b`, `\%`, `/* */`, `-- x`, `$$ $$`, `E'\x27'`, `' UNION SELECT 1,2,3,4,5,6,7,8,9 --`, `{"a": "b"}`, `U&'\0027'`, "'||pg_sleep(9)||'", `é 咖啡 🎈`,
}

// searchable is an outbox with an event for each nasty text, in its topic, type and
// payload.
func searchable(t *testing.T) (*pgxpool.Pool, string) {
	t.Helper()
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	for i, text := range nasty {
		topic := strings.NewReplacer("/", "|", "*", "+").Replace(text)
		const insertSQL = `INSERT INTO outbox (topic, type, payload) VALUES ('n/' || $1, $2, json_build_object('text', $2::text, 'n', $3::int))`
		if _, err := pool.Exec(t.Context(), insertSQL, topic, strings.ReplaceAll(text, "*", "+"), i); err != nil {
			t.Fatal(err)
		}
	}
	return pool, url
}

func search(t *testing.T, a *admin.Admin, s admin.Search) admin.Found {
	t.Helper()
	if s.Limit == 0 {
		s.Limit = 200
	}
	found, err := a.Search(t.Context(), s)
	if err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	return found
}

func idsOf(found admin.Found) []int64 {
	ids := []int64{}
	for _, e := range found.Events {
		ids = append(ids, e.ID)
	}
	return ids
}

// The text of a field is searched for literally, whatever it would mean to SQL, and the
// statement that is shown finds the same for a role that may only read.
func TestSearch_TakesTextForText(t *testing.T) {
	pool, url := searchable(t)
	if err := (migrations.Migrations{URL: url}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := admin.New(pool)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `SET ROLE outcrier_reader`); err != nil {
		t.Fatal(err)
	}
	// shown runs a statement as somebody who has copied it.
	shown := func(statement, strings string) []int64 {
		t.Helper()
		if _, err := conn.Exec(t.Context(), `SELECT set_config('standard_conforming_strings', $1, false), set_config('escape_string_warning', 'off', false)`, strings); err != nil {
			t.Fatal(err)
		}
		// As psql would: pgx itself refuses the older setting.
		results, err := conn.PgConn().Exec(t.Context(), statement).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		ids := []int64{}
		for _, row := range results[0].Rows {
			id, err := strconv.ParseInt(string(row[0]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		return ids
	}
	same := func(s admin.Search, want []int64) {
		t.Helper()
		found := search(t, a, s)
		if got := idsOf(found); !slices.Equal(got, want) {
			t.Errorf("%+v finds %v, want %v", s, got, want)
		}
		for _, strings := range []string{"on", "off"} {
			if got := shown(found.SQL, strings); !slices.Equal(got, idsOf(found)) {
				t.Errorf("with standard_conforming_strings %s the statement finds %v, want %v:\n%s", strings, got, want, found.SQL)
			}
		}
	}
	all := idsOf(search(t, a, admin.Search{}))
	if len(all) != len(nasty) || !slices.IsSortedFunc(all, func(a, b int64) int { return int(b - a) }) {
		t.Fatalf("there are %v", all)
	}
	for i, text := range nasty {
		id := all[len(all)-1-i]
		topic := strings.NewReplacer("/", "|", "*", "+").Replace(text)
		kind := strings.ReplaceAll(text, "*", "+")
		same(admin.Search{Topic: outbox.Pattern("n/" + topic)}, []int64{id})
		same(admin.Search{Topic: outbox.Pattern("*/" + topic)}, []int64{id})
		same(admin.Search{Type: kind}, []int64{id})
		var with, begins []int64
		for _, e := range search(t, a, admin.Search{}).Events {
			if strings.Contains(strings.ToLower(e.Payload), strings.ToLower(text)) {
				with = append(with, e.ID)
			}
			if strings.HasPrefix(e.Type, kind) {
				begins = append(begins, e.ID)
			}
		}
		if with == nil {
			with = []int64{}
		}
		same(admin.Search{Text: text}, with)
		same(admin.Search{Type: kind + "*"}, begins)
	}
	same(admin.Search{Topic: "n/**", From: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour), Text: "TEXT"}, all)
	same(admin.Search{Until: time.Now().Add(-time.Hour)}, []int64{})
	same(admin.Search{From: time.Now().Add(time.Hour)}, []int64{})
	first := search(t, a, admin.Search{Limit: 5})
	if got := shown(first.SQL, "on"); !slices.Equal(got, all[:5]) {
		t.Errorf("the first page's statement gives %v", got)
	}
	second := search(t, a, admin.Search{Limit: 5, Cursor: first.Next})
	if got := shown(second.SQL, "on"); !slices.Equal(got, all[5:10]) || !slices.Equal(idsOf(second), got) {
		t.Errorf("the second page's statement gives %v, the page is %v, want %v", got, idsOf(second), all[5:10])
	}
}

func TestSearch_RefusesWhatItCantTake(t *testing.T) {
	pool := outboxtest.New(t)
	if _, err := pool.Exec(t.Context(), `SELECT outcrier.append('a', 't')`); err != nil {
		t.Fatal(err)
	}
	a := admin.New(pool)
	for says, s := range map[string]admin.Search{
		"empty segments":       {Topic: "a//b", Limit: 1},
		`at the end`:           {Type: "a*b", Limit: 1},
		"NUL":                  {Text: "a\x00b", Limit: 1},
		"UTF-8":                {Text: "\xff", Limit: 1},
		"at most 200":          {Text: strings.Repeat("a", 201), Limit: 1},
		"from 1 to 200":        {Limit: 201},
		"years 1 to 9999":      {From: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC), Limit: 1},
		"cursor":               {Cursor: "1-1-1.1:1:'", Limit: 1},
		"invalid cursor: give": {Cursor: "5-1-9.9:1:", Limit: 1},
		"invalid cursor":       {Cursor: "5-1-9.1:9:77", Limit: 1},
	} {
		if _, err := a.Search(t.Context(), s); !errors.Is(err, admin.ErrSearch) || !strings.Contains(err.Error(), strings.TrimSpace(says)) {
			t.Errorf("%+v: %v, want something about %q", s, err, says)
		}
	}
}

// While others append and commit, early and late ids, the pages hold exactly what
// there was when the first was read.
func TestSearch_PagesAreOfOneMoment(t *testing.T) {
	pool := outboxtest.New(t)
	a := admin.New(pool)
	ctx, stop := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	appended := make(chan struct{}, 1)
	for n := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_ = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { // fails when the test is over
					_, err := outbox.Append(ctx, tx, outbox.Draft{Topic: fmt.Sprintf("w/%d", n), Type: "t"}, outbox.Draft{Topic: "other", Type: "t"})
					if err == nil && i%3 == 0 {
						_, err = tx.Exec(ctx, `SELECT pg_sleep(0.02)`) // commits behind those that came later
					}
					return err
				})
				select {
				case appended <- struct{}{}:
				default:
				}
			}
		})
	}
	t.Cleanup(func() { stop(); writers.Wait() })
	next := func() {
		for range 5 {
			<-appended
		}
	}
	for range 3 {
		// An event that belongs on the second page, but is committed after the first
		// was read.
		late, err := pool.Begin(t.Context())
		if err == nil {
			_, err = outbox.Append(t.Context(), late, outbox.Draft{Topic: "w/late", Type: "t"})
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 4 { // more than a page
			next()
		}
		first := search(t, a, admin.Search{Topic: "w/*", Limit: 7})
		if err := late.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, page := idsOf(first), first
		for page.Next != "" {
			next()
			page = search(t, a, admin.Search{Topic: "w/*", Limit: 7, Cursor: page.Next})
			got = append(got, idsOf(page)...)
		}
		_, snapshot, _ := strings.Cut(first.Next, ".")
		rows, err := pool.Query(t.Context(), `SELECT id FROM outcrier.event WHERE topic LIKE 'w/%' AND pg_visible_in_snapshot(xid, $1::text::pg_snapshot) ORDER BY id DESC`, snapshot)
		if err != nil {
			t.Fatal(err)
		}
		want, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil || len(want) < 8 {
			t.Fatalf("%d events: %v", len(want), err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the pages hold %d events, want %d:\n%v\n%v", len(got), len(want), got, want)
		}
	}
}

// A search that finds little stops, says so, and goes on where it stopped: nothing
// is left out, and the statement that is shown looks no further either.
func TestSearch_LooksBackInBoundedSteps(t *testing.T) {
	pool := outboxtest.New(t)
	a := admin.New(pool)
	a.SearchFor(-1)
	const fillSQL = `INSERT INTO outbox (topic, type, payload) SELECT 'a', 't', json_build_object('n', n) FROM generate_series(1, 5000) AS n`
	if _, err := pool.Exec(t.Context(), fillSQL); err != nil {
		t.Fatal(err)
	}
	want := []int64{}
	for id := int64(5000); id > 0; id -= 1000 {
		want = append(want, id)
	}
	got, steps, at := []int64{}, 0, int64(5001)
	for cursor := ""; ; steps++ {
		found := search(t, a, admin.Search{Text: `000}`, Cursor: cursor})
		got = append(got, idsOf(found)...)
		if found.Next == "" {
			break
		}
		if !found.Further || at-found.ScannedTo != 1024 || !strings.Contains(found.SQL, fmt.Sprintf("id >= %d", found.ScannedTo)) {
			t.Fatalf("from %d it looked back to %d, further %v:\n%s", at, found.ScannedTo, found.Further, found.SQL)
		}
		cursor, at = found.Next, found.ScannedTo
	}
	if !slices.Equal(got, want) || steps != 4 {
		t.Errorf("in %d steps it found %v, want %v", steps, got, want)
	}
}

// An event is shown as it was appended, byte for byte.
func TestAdmin_EventIsShownAsAppended(t *testing.T) {
	pool := outboxtest.New(t)
	a := admin.New(pool)
	const payload = `{"b":1,  "a":12345678901234567890.50, "a":"\u0000"}`
	var id int64
	err := pool.QueryRow(t.Context(), `SELECT outcrier.append('a', 'user.logged_in', $1::text::json, '/x', '{"k":"v"}', 'key')`, payload).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	e, found, err := a.Event(t.Context(), id)
	if err != nil || !found || e.Payload != payload || e.Headers["k"] != "v" || *e.DedupKey != "key" || *e.Title != "Signed in" || e.XID == 0 {
		t.Errorf("%+v, %v, %v", e, found, err)
	}
	if _, found, err := a.Event(t.Context(), id+1); found || err != nil {
		t.Errorf("there is one more: %v", err)
	}
	if hits := search(t, a, admin.Search{}).Events; len(hits) != 1 || !strings.Contains(hits[0].Payload, "12345678901234567890.50") {
		t.Errorf("%+v", hits)
	}
}

// A page of whole events ends where it has its bytes, and the pages still have each event once.
func TestSearch_PageOfWholeEventsIsBoundedByBytes(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `INSERT INTO outbox (topic, type, payload) SELECT 'a', 't', to_json(repeat('x', CASE WHEN g % 5 = 0 THEN 300000 ELSE 1000 END)) FROM generate_series(1, 40) AS g`)
	s := admin.Search{Whole: true, Limit: 30, Bytes: 250_000}
	var got []int64
	for pages := 0; pages == 0 || s.Cursor != ""; pages++ {
		found := search(t, admin.New(pool), s)
		bytes := 0
		for _, hit := range found.Events[:max(0, len(found.Events)-1)] {
			bytes += len(hit.Payload)
		}
		if bytes >= 250_000 {
			t.Errorf("a page of %d events has %d bytes before its last", len(found.Events), bytes)
		}
		got, s.Cursor = append(got, idsOf(found)...), found.Next
	}
	want := sqltest.Ask[int64](t, pool, `SELECT id FROM outcrier.event ORDER BY id DESC`)
	if !slices.Equal(got, want) {
		t.Errorf("the pages have %v", got)
	}
}
