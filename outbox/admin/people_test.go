package admin_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
)

func newRecorder(pool *pgxpool.Pool) *audit.Recorder {
	return &audit.Recorder{Pool: pool, Keys: position.NewKeys(), Node: "n"}
}

// onRecord records a stream that was sent all that its filter selects from one position to
// another; it has ended if end says why.
func onRecord(t *testing.T, recorder *audit.Recorder, subject string, filter outbox.Filter, from, to position.Position, end string) {
	t.Helper()
	record := recorder.Opened(audit.Stream{Subject: subject, ClientAddress: "192.0.2.1", Filter: filter, From: from})
	record.Progress(to, 1, 1)
	if end != "" {
		record.Closed(end)
	}
	if err := recorder.Turn(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAdmin_FindsPeopleByTheirBeginning(t *testing.T) {
	pool := outboxtest.New(t)
	a, recorder, at := admin.New(pool), newRecorder(pool), sqltest.Here(t, pool)
	for i := range 120 {
		onRecord(t, recorder, fmt.Sprintf("ann-%03d", i), sqltest.All("a"), at, at, "left")
	}
	for _, subject := range []string{"", "Ann", "an", "ann-005", "bob", "ann%", "zoé"} {
		onRecord(t, recorder, subject, sqltest.All("a"), at, at, "")
	}
	find := func(prefix, after string) (names []string) {
		t.Helper()
		people, err := a.People(t.Context(), prefix, after)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range people {
			names = append(names, p.Subject)
		}
		return names
	}
	first := find("ann-", "")
	second := find("ann-", first[len(first)-1])
	third := find("ann-", second[len(second)-1])
	if pages := slices.Concat(first, second, third); len(first) != admin.PeoplePage || len(pages) != 120 || len(slices.Compact(pages)) != 120 {
		t.Errorf("%d, %d and %d people are on the pages", len(first), len(second), len(third))
	}
	for prefix, want := range map[string]string{"b": "bob", "bobb": "", "ann%": "ann%", "zo": "zoé", "an": "an", "A": "Ann"} {
		if got := find(prefix, ""); !strings.HasPrefix(strings.Join(got, " "), want) || want == "" && len(got) > 0 {
			t.Errorf("%q finds %q, want %q", prefix, got, want)
		}
	}
	people, err := a.People(t.Context(), "ann-005", "")
	if err != nil || len(people) != 1 || people[0].Open != 1 || people[0].Streams != 2 || people[0].LastClosed == nil || !slices.Equal(people[0].Addresses, []string{"192.0.2.1"}) {
		t.Errorf("%+v %v", people, err)
	}
	if _, err := a.People(t.Context(), "a\x00", ""); !errors.Is(err, admin.ErrSearch) {
		t.Error(err)
	}
}

func TestAdmin_PagesWhatAPersonWasSent(t *testing.T) {
	pool := outboxtest.New(t)
	a, recorder, from := admin.New(pool), newRecorder(pool), sqltest.Here(t, pool)
	sqltest.Exec(t, pool, `INSERT INTO outbox (topic, type) SELECT CASE WHEN n % 2 = 0 THEN 'user/1' ELSE 'user/2/x' END, 't' FROM generate_series(1, 1500) AS n`)
	to := sqltest.Here(t, pool)
	onRecord(t, recorder, "ann", sqltest.All("user/1"), from, to, "left") // by topic
	onRecord(t, recorder, "bob", sqltest.All("**"), from, to, "")         // by id
	onRecord(t, recorder, "cleo", sqltest.All("user/2/*"), from, to, "")  // by a pattern's topics
	onRecord(t, recorder, "cleo", sqltest.All("user/2/**"), from, to, "") // and again
	for subject, want := range map[string]int{"ann": 750, "bob": 1500, "cleo": 750, "nobody": 0} {
		seen, search := []int64{}, admin.SentSearch{Subject: subject}
		for {
			found, err := a.Sent(t.Context(), search)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range found.Events {
				seen = append(seen, e.ID)
				if streams := map[string]int{"cleo": 2}[subject]; e.Streams != max(1, streams) || e.Nodes[0] != "n" {
					t.Fatalf("%+v", e)
				}
			}
			if search.Before = found.Next; search.Before == 0 {
				break
			}
		}
		if len(seen) != want || !slices.IsSortedFunc(seen, func(a, b int64) int { return int(b - a) }) || len(slices.Compact(seen)) != want {
			t.Errorf("%s was sent %d events, want %d", subject, len(seen), want)
		}
	}
	narrow, err := a.Sent(t.Context(), admin.SentSearch{Subject: "bob", Topic: "user/1", From: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)})
	if err != nil || len(narrow.Events) != admin.SentPage || slices.ContainsFunc(narrow.Events, func(e admin.Sent) bool { return e.Topic != "user/1" }) {
		t.Errorf("%+v %v", narrow, err)
	}
	// The statement that the page shows gives the same.
	if ids := sqltest.Ask[int64](t, pool, strings.Replace(strings.TrimSuffix(narrow.SQL, ";"), "id, created_at, topic, type, node, sent_after, sent_before, perhaps", "id", 1)); len(ids) != admin.SentPage || ids[0] != narrow.Events[0].ID {
		t.Errorf("%s\ngives %v", narrow.SQL, ids)
	}
	if found, err := a.Sent(t.Context(), admin.SentSearch{Subject: "bob", Until: time.Now().Add(-time.Hour)}); err != nil || len(found.Events) > 0 {
		t.Errorf("before it was appended: %+v %v", found, err)
	}
	for _, s := range []admin.SentSearch{{}, {Subject: "a", Topic: "a//b"}, {Subject: "a\x00"}, {Subject: "a", From: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)}} {
		if _, err := a.Sent(t.Context(), s); !errors.Is(err, admin.ErrSearch) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// Why somebody was not sent an event: each reason there is.
func TestAdmin_KnowsWhyNot(t *testing.T) {
	pool := outboxtest.New(t)
	a, recorder, start := admin.New(pool), newRecorder(pool), sqltest.Here(t, pool)
	event := sqltest.AddNow(t, pool, "user/1", 1)[0]
	end := sqltest.Here(t, pool)
	sqltest.Forge(t, pool, `UPDATE outcrier.event SET created_at = created_at - interval '1 hour'`)
	onRecord(t, recorder, "sent", sqltest.All("user/*"), start, end, "left")
	onRecord(t, recorder, "behind", sqltest.All("user/*"), start, start, "")
	onRecord(t, recorder, "ended", sqltest.All("user/*"), start, start, "left")
	onRecord(t, recorder, "passed", sqltest.All("user/*"), end, end, "")
	onRecord(t, recorder, "type", outbox.Filter{Topics: []outbox.Pattern{"user/1"}, Types: []string{"other"}}, start, end, "")
	onRecord(t, recorder, "topic", sqltest.All("user/2"), start, end, "")
	onRecord(t, recorder, "late", sqltest.All("user/1"), end, end, "left")
	sqltest.Exec(t, pool, `UPDATE outcrier.stream SET opened_at = opened_at - interval '3 hours', closed_at = closed_at - interval '2 hours' WHERE subject = 'late'`)
	why := func(subject string, id int64) admin.Why {
		t.Helper()
		why, err := a.Why(t.Context(), subject, id)
		if err != nil {
			t.Fatal(err)
		}
		return why
	}
	for _, subject := range []string{"sent", "behind", "ended", "passed", "type", "topic"} {
		if got := why(subject, event); got.Verdict != subject || len(got.Streams) != 1 || *got.Topic != "user/1" {
			t.Errorf("%s: %+v", subject, got)
		}
	}
	if got := why("late", event); got.Verdict != "not_connected" || got.LastClosed == nil || len(got.Streams) != 0 {
		t.Errorf("%+v", got)
	}
	if got := why("nobody", event); got.Verdict != "not_connected" || got.LastClosed != nil {
		t.Errorf("%+v", got)
	}
	// The best of several streams counts.
	onRecord(t, recorder, "topic", sqltest.All("user/1"), start, end, "")
	if got := why("topic", event); got.Verdict != "sent" || len(got.Streams) != 2 {
		t.Errorf("%+v", got)
	}
	sqltest.Exec(t, pool, `UPDATE outcrier.stream SET history = history + 1 WHERE subject = 'behind'`)
	if got := why("behind", event); got.Verdict != "elsewhere" {
		t.Errorf("%+v", got)
	}
	scheduled := sqltest.Ask1[int64](t, pool, `SELECT outcrier.append('a', 't', deliver_at => clock_timestamp() + interval '1 hour')`)
	sqltest.Exec(t, pool, `SELECT outcrier.erase($1::bigint, 'test')`, event)
	for id, want := range map[int64]string{event: "erased", scheduled: "scheduled", scheduled + 100: "unknown"} {
		if got := why("sent", id); got.Verdict != want {
			t.Errorf("event %d: %+v, want %s", id, got, want)
		}
	}
}

func TestAdmin_EndsAllStreamsOfAPerson(t *testing.T) {
	pool := outboxtest.New(t)
	a, recorder, at := admin.New(pool), newRecorder(pool), sqltest.Here(t, pool)
	for range 3 {
		onRecord(t, recorder, "ann", sqltest.All("a"), at, at, "")
	}
	onRecord(t, recorder, "ann", sqltest.All("a"), at, at, "left")
	onRecord(t, recorder, "anna", sqltest.All("a"), at, at, "")
	if n, err := a.EndStreams(t.Context(), "ann", "root"); n != 3 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.stream WHERE end_requested_by = 'root' AND subject = 'ann' AND closed_at IS NULL`); n != 3 {
		t.Errorf("%d are asked to end", n)
	}
}

// A node erases only with the role for it, and the record has who it was for.
func TestAdmin_ErasesWithItsRoleOnly(t *testing.T) {
	url := outboxtest.URL(t)
	if err := (migrations.Migrations{URL: url}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	owner := outboxtest.Pool(t, url)
	events := sqltest.AddNow(t, owner, "user/1", 3)
	sqltest.Exec(t, owner, `INSERT INTO outbox (topic, type) VALUES ('user/2/x', 't'), ('user/2', 't'), ('user/22', 't')`)
	login := fmt.Sprintf("node_%d", time.Now().UnixNano())
	sqltest.Exec(t, owner, `CREATE ROLE `+login+` IN ROLE outcrier_server`)
	t.Cleanup(func() {
		if _, err := owner.Exec(context.Background(), `DROP ROLE `+login); err != nil {
			t.Error(err)
		}
	})
	config, err := outbox.PoolConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.RuntimeParams["role"] = login
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	a := admin.New(pool)
	erase := func(e admin.Erasing) int64 {
		t.Helper()
		n, err := a.Erase(t.Context(), e, "root")
		if err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		return n
	}
	if _, err := a.Erase(t.Context(), admin.Erasing{ID: events[0], Reason: "r"}, "root"); !errors.Is(err, admin.ErrMayNotErase) {
		t.Errorf("without the role: %v", err)
	}
	sqltest.Exec(t, owner, `GRANT outcrier_eraser TO `+login)
	for _, e := range []admin.Erasing{{}, {Reason: "r"}, {ID: 1, Reason: " "}, {ID: 1, Pattern: "a", Reason: "r"}, {Pattern: "a//b", Reason: "r"}, {Pattern: "a", Payload: []byte("1"), Reason: "r"}, {ID: 1, Reason: strings.Repeat("r", 1001)}} {
		if _, err := a.Erase(t.Context(), e, "root"); !errors.Is(err, admin.ErrSearch) {
			t.Errorf("%+v: %v", e, err)
		}
	}
	if n := erase(admin.Erasing{ID: events[0], Reason: "by mistake"}); n != 1 {
		t.Errorf("%d erased", n)
	}
	if n := erase(admin.Erasing{ID: events[0], Reason: "again"}); n != 0 {
		t.Errorf("%d erased again", n)
	}
	if n := erase(admin.Erasing{ID: events[1], Payload: []byte(`{"n": 12345678901234567890}`), Reason: "request 7"}); n != 1 {
		t.Errorf("%d redacted", n)
	}
	if n := erase(admin.Erasing{Pattern: "user/2/**", Reason: "closed"}); n != 2 {
		t.Errorf("%d erased by pattern", n)
	}
	if got := sqltest.Ask1[string](t, owner, `SELECT payload::text FROM outcrier.event WHERE id = $1`, events[1]); got != `{"n": 12345678901234567890}` {
		t.Errorf("redacted to %s", got)
	}
	record, err := a.Erasures(t.Context(), 0)
	if err != nil || len(record) != 3 {
		t.Fatalf("%+v %v", record, err)
	}
	if last := record[0]; last.Kind != "erase" || *last.Pattern != "user/2/**" || last.Events != 2 || last.Reason != "closed" || !strings.HasSuffix(last.ErasedBy, " for root") {
		t.Errorf("%+v", last)
	}
	if older, err := a.Erasures(t.Context(), record[1].Erasure); err != nil || len(older) != 1 {
		t.Errorf("%+v %v", older, err)
	}
	sqltest.Exec(t, owner, `SELECT outcrier.erase('none', 'by hand'), outcrier.erase($1::bigint, 'by hand')`, events[2])
	if by := sqltest.Ask1[string](t, owner, `SELECT erased_by FROM outcrier.erasure ORDER BY erasure DESC LIMIT 1`); strings.Contains(by, "for") {
		t.Errorf("by hand it was %q", by)
	}
}
