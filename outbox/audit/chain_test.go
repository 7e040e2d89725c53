package audit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// fill puts records of every kind into the audit, and has them be of so many days ago. The
// streams' subjects are the days.
func auditOf(t *testing.T, pool *pgxpool.Pool, days ...int) {
	t.Helper()
	recorder := newAudit(t, pool, "n")
	from := sqltest.Here(t, pool)
	for _, day := range days {
		for range 2 {
			recorder.Opened(audit.Stream{Subject: fmt.Sprint(day), Filter: sqltest.All("a/**"), From: from}).Closed("left")
		}
		recorder.AdminRequest(audit.AdminRequest{Subject: "root", Request: "GET /admin/api/history", Question: map[string]string{"topic": fmt.Sprint(day)}}).Ended(audit.AdminOutcome{Status: 200})
	}
	turn(t, recorder, 1)
	for _, day := range days {
		ago := fmt.Sprintf("%d days", day)
		sqltest.Exec(t, pool, `UPDATE outcrier.stream SET recorded_at = clock_timestamp() - $1::interval WHERE subject = $2`, ago, fmt.Sprint(day))
		sqltest.Exec(t, pool, `UPDATE outcrier.admin_request SET recorded_at = clock_timestamp() - $1::interval WHERE question->>'topic' = $2`, ago, fmt.Sprint(day))
		sqltest.Exec(t, pool, `INSERT INTO outcrier.publication (id, publisher, client_address, recorded_at) VALUES ($2, 'shop', '192.0.2.1', clock_timestamp() - $1::interval)`, ago, 1000+day)
		sqltest.Exec(t, pool, `INSERT INTO outcrier.erasure (kind, event_id, events, reason, erased_at) VALUES ('erase', $2, 1, 'asked for', clock_timestamp() - $1::interval)`, ago, day)
	}
}

// link makes the links of all days that are over, and returns how many.
func link(t *testing.T, pool *pgxpool.Pool) (links int) {
	t.Helper()
	for {
		n := sqltest.Ask1[int](t, pool, `SELECT outcrier.link_audit_days()`)
		if links += n; n == 0 {
			return links
		}
	}
}

func verify(t *testing.T, pool *pgxpool.Pool, heads ...audit.Link) audit.Verified {
	t.Helper()
	found, err := audit.Chain{Pool: pool}.Verify(t.Context(), heads...)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAuditChain_ShowsWhatWasRemovedOrAltered(t *testing.T) {
	pool := outboxtest.New(t)
	const days = 40
	ago := make([]int, days)
	for i := range ago {
		ago[i] = i + 1
	}
	auditOf(t, pool, ago...)
	if links := link(t, pool); links < days-1 {
		t.Fatalf("%d links of %d days", links, days)
	}
	found := verify(t, pool)
	if len(found.Faults) > 0 || found.Records < 5*(days-1) {
		t.Fatalf("%d records, faults %q", found.Records, found.Faults)
	}
	head := found.Days[len(found.Days)-1]
	if again, err := audit.ParseHead(head.String()); err != nil || len(verify(t, pool, again).Faults) > 0 {
		t.Errorf("the head %s: %v", head, err)
	}

	day := func(ago int) string { // by the database's clock, like the records
		return sqltest.Ask1[string](t, pool, `SELECT ((clock_timestamp() - $1 * interval '1 day') AT TIME ZONE 'UTC')::date::text`, ago)
	}
	var want []string
	tamper := func(ago int, says, sql string, args ...any) {
		t.Helper()
		sqltest.Exec(t, pool, sql, args...)
		want = append(want, day(ago)+": "+says)
	}
	const altered, gone = "were altered", "records are there"
	tamper(35, gone, `DELETE FROM outcrier.stream WHERE ctid = (SELECT min(ctid) FROM outcrier.stream WHERE subject = '35')`)
	tamper(34, altered, `UPDATE outcrier.stream SET subject = 'nobody' WHERE subject = '34'`)
	tamper(33, altered, `UPDATE outcrier.stream SET position_set.max_xid = '4' WHERE subject = '33'`)
	tamper(32, altered, `UPDATE outcrier.stream SET position_at = position_at + interval '1 microsecond' WHERE subject = '32'`)
	tamper(31, gone, `DELETE FROM outcrier.admin_request WHERE question->>'topic' = '31'`)
	tamper(30, altered, `UPDATE outcrier.admin_request SET subject = 'another' WHERE question->>'topic' = '30'`)
	tamper(25, altered, `UPDATE outcrier.admin_request SET outcome = '{"status": 404}' WHERE question->>'topic' = '25'`)
	tamper(29, altered, `UPDATE outcrier.publication SET publisher = 'another' WHERE id = 1029`)
	tamper(28, altered, `UPDATE outcrier.erasure SET reason = 'another' WHERE event_id = 28`)
	tamper(27, gone, `UPDATE outcrier.stream SET recorded_at = NULL WHERE subject = '27'`)
	tamper(26, gone, `INSERT INTO outcrier.publication (id, publisher, client_address, recorded_at) VALUES (1, 'x', 'y', clock_timestamp() - interval '26 days')`)
	// With the day's sum recomputed, the link does not match.
	sqltest.Exec(t, pool, `UPDATE outcrier.stream SET subject = 'nobody' WHERE subject = '20'`)
	tamper(20, "the link does not follow", `UPDATE outcrier.audit_day AS d SET digest = (SELECT g.digest FROM outcrier.audit_digest(d.day) AS g) WHERE d.day = $1::text::date`, day(20))
	// With the link recomputed too, the next one does not.
	tamper(15, "the link does not follow", `UPDATE outcrier.audit_day SET link = sha256('') WHERE day = $1::text::date`, day(15))
	want = append(want, day(14)+": the link does not follow")
	// A link that is gone.
	tamper(9, "the link of the day before is gone", `DELETE FROM outcrier.audit_day WHERE day = $1::text::date`, day(10))
	want = append(want, day(9)+": the link does not follow")

	faults := verify(t, pool).Faults
	for _, fault := range want {
		date, says, _ := strings.Cut(fault, ": ")
		if !slices.ContainsFunc(faults, func(f string) bool { return strings.HasPrefix(f, date) && strings.Contains(f, says) }) {
			t.Errorf("nothing says %q", fault)
		}
	}
	for _, fault := range faults {
		if !slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(w, fault[:len(time.DateOnly)]) }) {
			t.Errorf("without cause: %s", fault)
		}
	}

	// The owner of the database can recompute all of it: the head that was noted shows
	// it.
	sqltest.Exec(t, pool, `TRUNCATE outcrier.audit_day`)
	link(t, pool)
	if faults := verify(t, pool).Faults; len(faults) > 0 {
		t.Errorf("recomputed: %q", faults)
	}
	if faults := verify(t, pool, head).Faults; len(faults) != 1 || !strings.Contains(faults[0], "recomputed") {
		t.Errorf("recomputed, against the head: %q", faults)
	}
	if faults := verify(t, pool, audit.Link{Day: head.Day.AddDate(1, 0, 0), Link: head.Link}).Faults; len(faults) != 1 {
		t.Errorf("against a head that there is not: %q", faults)
	}
}

// A day is linked when it is over for an hour, once, and so is one without a record.
func TestAuditChain_LinksEachDayThatIsOver(t *testing.T) {
	pool := outboxtest.New(t)
	if links := link(t, pool); links != 0 {
		t.Errorf("of an empty audit there are %d links", links)
	}
	auditOf(t, pool, 0, 5)
	over := sqltest.Ask1[int](t, pool, `SELECT ((clock_timestamp() - interval '25 hours') AT TIME ZONE 'UTC')::date - ((clock_timestamp() - interval '5 days') AT TIME ZONE 'UTC')::date + 1`)
	if links := link(t, pool); links != over {
		t.Errorf("%d days are linked, want %d", links, over)
	}
	if found := verify(t, pool); len(found.Faults) > 0 || len(found.Days) != over {
		t.Errorf("%+v", found)
	}
}

// Retention takes whole days, none of the last week, and leaves their links. Without a
// retention of its own the audit is kept for as long as the oldest event.
func TestAuditRetention_TakesWholeDaysAndNoneOfTheLastWeek(t *testing.T) {
	pool := outboxtest.New(t)
	auditOf(t, pool, 1, 3, 6, 9, 20, 30)
	held := func() []string {
		return sqltest.Ask[string](t, pool, `SELECT DISTINCT subject FROM outcrier.stream ORDER BY subject`)
	}
	purge := func(retention any) {
		t.Helper()
		for sqltest.Ask1[int](t, pool, `SELECT outcrier.purge_audit($1::interval)`, retention) > 0 {
		}
	}
	purge("1 second")
	if got := held(); len(got) != 6 {
		t.Errorf("of days without a link there are left %v", got)
	}
	link(t, pool)
	sqltest.PastPartition(t, pool, 25, 1)
	purge(nil)
	if got := held(); !slices.Equal(got, []string{"1", "20", "3", "6", "9"}) {
		t.Errorf("with an event of 25 days ago there are left %v", got)
	}
	purge("15 days")
	if got := held(); !slices.Equal(got, []string{"1", "3", "6", "9"}) {
		t.Errorf("with a retention of 15 days there are left %v", got)
	}
	purge("1 second")
	if got := held(); !slices.Equal(got, []string{"1", "3", "6"}) {
		t.Errorf("with a retention of a second there are left %v", got)
	}
	if left := sqltest.Ask1[string](t, pool, `SELECT concat_ws(' ', (SELECT count(*) FROM outcrier.admin_request), (SELECT count(*) FROM outcrier.publication), (SELECT count(*) FROM outcrier.erasure))`); left != "3 3 6" {
		t.Errorf("of requests, publications and erasures there are left %s", left)
	}
	if found := verify(t, pool); len(found.Faults) > 0 {
		t.Errorf("%q", found.Faults)
	}
}

// A record that is complete is not changed by a node, from an hour later on.
func TestAudit_WhatWasRecordedToItsEndStays(t *testing.T) {
	pool := outboxtest.New(t)
	recorder := newAudit(t, pool, "n")
	record := recorder.Opened(audit.Stream{Subject: "ann", Filter: sqltest.All("a"), From: sqltest.Here(t, pool)})
	turn(t, recorder, 7)
	sqltest.Exec(t, pool, `UPDATE outcrier.stream SET closed_at = clock_timestamp(), end_reason = 'node lost', recorded_at = clock_timestamp() - interval '61 minutes'`)
	sqltest.Exec(t, pool, `DELETE FROM outcrier.node`)
	record.Progress(sqltest.Here(t, pool), 1, 1)
	turn(t, recorder, 7)
	if got := sqltest.Ask1[string](t, pool, `SELECT concat_ws(' ', events, end_reason) FROM outcrier.stream`); got != "0 node lost" {
		t.Errorf("an hour later it is %s", got)
	}
	sqltest.Exec(t, pool, `UPDATE outcrier.stream SET recorded_at = clock_timestamp() - interval '59 minutes'`)
	record.Progress(sqltest.Here(t, pool), 1, 1)
	turn(t, recorder, 7)
	if got := sqltest.Ask1[string](t, pool, `SELECT concat_ws(' ', events, end_reason, recorded_at) FROM outcrier.stream`); got != "2" {
		t.Errorf("within the hour it is %s", got)
	}
}

var errStop = errors.New("enough")

func TestAuditExport_GoesOnBehindACursor(t *testing.T) {
	pool := outboxtest.New(t)
	auditOf(t, pool, 1, 2, 3)
	// As many at one moment as two pages have.
	sqltest.Exec(t, pool, `INSERT INTO outcrier.publication (id, publisher, client_address, recorded_at) SELECT 5000 + n, 'p', 'a', clock_timestamp() - interval '36 hours' FROM generate_series(1, 1500) AS n`)
	link(t, pool)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.publication (id, publisher, client_address) VALUES (1, 'of this minute', 'a')`)
	chain := audit.Chain{Pool: pool}
	export := func(after audit.Cursor, most int) (records []string, last audit.Cursor) {
		t.Helper()
		last = after
		err := chain.Export(t.Context(), after, time.Time{}, func(r audit.Record) error {
			if len(records) == most {
				return errStop
			}
			if !json.Valid(r.Record) {
				t.Errorf("%s", r.Record)
			}
			records = append(records, r.Kind+" "+r.Key)
			last = audit.Cursor{RecordedAt: r.RecordedAt, Kind: r.Kind, Key: r.Key}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			t.Fatal(err)
		}
		return records, last
	}
	whole, _ := export(audit.Cursor{}, 1<<30)
	want := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.audit WHERE recorded_at < clock_timestamp() - interval '1 minute'`)
	if len(whole) != want || slices.Contains(whole, "publication 1") || len(whole) < 1500 {
		t.Errorf("%d records, want %d", len(whole), want)
	}
	var pieces []string
	var cursor audit.Cursor
	for {
		piece, last := export(cursor, 700)
		if len(piece) == 0 {
			break
		}
		pieces = append(pieces, piece...)
		again, err := audit.ParseCursor(last.String())
		if err != nil {
			t.Fatal(err)
		}
		cursor = again
	}
	if !slices.Equal(pieces, whole) {
		t.Errorf("in pieces there are %d records, at once %d", len(pieces), len(whole))
	}
}
