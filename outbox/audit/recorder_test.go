package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
)

func newAudit(t testing.TB, pool *pgxpool.Pool, node string) *audit.Recorder {
	return &audit.Recorder{Pool: pool, Keys: position.NewKeys(), Node: node, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// turn writes all that there is to write.
func turn(t testing.TB, a *audit.Recorder, run int64) {
	t.Helper()
	if err := a.TurnAs(t.Context(), run, 0); err != nil {
		t.Fatal(err)
	}
}

// The receipts of a random history are those that the positions claim: streams begin
// and end anywhere, in the middle of a read too, while transactions are open and events
// are committed late.
func TestAudit_ReceiptsAreWhatWasSent(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	type event struct {
		xid         uint64
		id          int64
		topic, kind string
		at          time.Time
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	topics, kinds := []string{"a", "a/1", "a/2", "b", "b/1/x"}, []string{"k", "k.l", "m"}
	var open []pgx.Tx
	positions := []position.Position{sqltest.Here(t, pool)}
	for range 60 {
		switch n := random.IntN(10); {
		case n < 3:
			open = append(open, sqltest.Begin(t, sqltest.Connection(t, url)))
		case n < 4:
			sqltest.AddNow(t, pool, "b", 1)
		case n < 8 && len(open) > 0:
			sqltest.Exec(t, open[random.IntN(len(open))], `INSERT INTO outbox (topic, type) VALUES ($1, $2)`,
				topics[random.IntN(len(topics))], kinds[random.IntN(len(kinds))])
		case len(open) > 0:
			i := random.IntN(len(open))
			sqltest.Commit(t, open[i])
			open = slices.Delete(open, i, i+1)
			positions = append(positions, sqltest.Here(t, pool))
		}
	}
	for _, tx := range open {
		sqltest.Commit(t, tx)
	}
	positions = append(positions, sqltest.Here(t, pool))

	rows, _ := pool.Query(t.Context(), `SELECT xid, id, topic, type, created_at FROM outcrier.event ORDER BY id`)
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e event, err error) {
		return e, row.Scan(&e.xid, &e.id, &e.topic, &e.kind, &e.at)
	})
	if err != nil {
		t.Fatal(err)
	}
	recorder, reader := newAudit(t, pool, "n"), replay.Reader{Pool: pool}
	patterns := []outbox.Pattern{"**", "a/*", "a/**", "b", "b/*/x", "none"}
	var want []string
	for i := range 150 {
		begins := random.IntN(len(positions))
		from, to := positions[begins], positions[begins+random.IntN(len(positions)-begins)]
		filter := outbox.Filter{Topics: []outbox.Pattern{patterns[random.IntN(len(patterns))], patterns[random.IntN(len(patterns))]}}
		if random.IntN(2) == 0 {
			filter.Types = []string{[]string{"k", "k*", "*", "m"}[random.IntN(4)]}
		}
		live, stands := to, to
		// Half of them stand within what they are replayed.
		if ranges := replay.Ranges(from, to); len(ranges) > 0 && random.IntN(2) == 0 {
			page, err := reader.Replay(t.Context(), ranges[0], outbox.Filter{Topics: sqltest.All("**").Topics}, 1000, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Events) > 0 {
				stands = ranges[0].At(page.Events[random.IntN(len(page.Events))].ID)
			}
		}
		if random.IntN(3) == 0 && begins > 0 {
			// A reader that had come only so far in a replay of its own.
			if ranges := replay.Ranges(positions[0], from); len(ranges) > 0 {
				from = ranges[0].At(events[random.IntN(len(events))].id)
				for _, rng := range replay.Ranges(from, to) {
					stands = rng.To
				}
				live = stands
			}
		}
		since := random.IntN(3) == 0
		if since {
			filter.Since = events[random.IntN(len(events))].at
			live = positions[begins+random.IntN(len(positions)-begins)]
		}
		record := recorder.Opened(audit.Stream{Subject: fmt.Sprint(i), Filter: filter, From: from})
		reached := since && random.IntN(2) == 0
		if reached {
			record.Live(live)
		}
		record.Progress(stands, 1, stands.EventID)
		if i%2 == 0 {
			record.Closed("left")
		}
		for _, e := range events {
			replayed := !reached || live.Has(e.xid, e.id)
			if filter.Match(e.topic, e.kind) && stands.Has(e.xid, e.id) && !from.Has(e.xid, e.id) &&
				(!since || !replayed || !e.at.Before(filter.Since)) {
				want = append(want, fmt.Sprintf("%d to %d", e.id, i))
			}
		}
	}
	turn(t, recorder, 1)
	got := sqltest.Ask[string](t, pool, `SELECT id || ' to ' || subject FROM outcrier.receipts`)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d receipts, want %d\n%v\n%v", len(got), len(want), got, want)
	}
	if len(want) < 100 {
		t.Errorf("only %d receipts to tell by", len(want))
	}
	// The admin page says the same, of each person and of each event.
	a := admin.New(pool)
	var sent, unsent []string
	for i := range 150 {
		found, err := a.Sent(t.Context(), admin.SentSearch{Subject: fmt.Sprint(i)})
		if err != nil || found.Next != 0 {
			t.Fatalf("%+v %v", found, err)
		}
		for _, e := range found.Events {
			sent = append(sent, fmt.Sprintf("%d to %d", e.ID, i))
		}
	}
	if slices.Sort(sent); !slices.Equal(sent, want) {
		t.Errorf("%d were sent, want %d\n%v\n%v", len(sent), len(want), sent, want)
	}
	for _, e := range events {
		if !slices.ContainsFunc(want, func(receipt string) bool { return strings.HasPrefix(receipt, fmt.Sprintf("%d to ", e.id)) }) {
			unsent = append(unsent, fmt.Sprint(e.id))
		}
		for range 3 {
			subject := fmt.Sprint(random.IntN(150))
			why, err := a.Why(t.Context(), subject, e.id)
			if err != nil {
				t.Fatal(err)
			}
			if is := slices.Contains(want, fmt.Sprintf("%d to %s", e.id, subject)); is != (why.Verdict == "sent") {
				t.Errorf("event %d and %s: %s", e.id, subject, why.Verdict)
			}
		}
	}
	slices.Reverse(unsent)
	if found, err := a.Unsent(t.Context(), admin.Search{Limit: 200}); err != nil || !slices.Equal(hitIDs(found.Events), unsent) {
		t.Errorf("sent to nobody are %v %v, want %v", hitIDs(found.Events), err, unsent)
	}
	if wrong := sqltest.Ask[int](t, pool, `SELECT count(*) FROM outcrier.receipts WHERE sent_after > sent_before`)[0]; wrong > 0 {
		t.Errorf("%d were sent before they could be", wrong)
	}
}

func TestAudit_TellsAStreamsLife(t *testing.T) {
	pool := outboxtest.New(t)
	from := sqltest.Here(t, pool)
	recorder := newAudit(t, pool, "n1")
	recorder.State = func() (position.Position, time.Duration) { return from, 1500 * time.Millisecond }
	before := sqltest.Ask1[time.Time](t, pool, `SELECT clock_timestamp()`)
	record := recorder.Opened(audit.Stream{Subject: "ann", ClientAddress: "192.0.2.1:99", Filter: sqltest.All("a/**"), From: from})
	after := sqltest.Ask1[time.Time](t, pool, `SELECT clock_timestamp()`)
	turn(t, recorder, 7)
	if got := sqltest.Ask1[string](t, pool, `SELECT concat_ws(' ', node, streams, lag, position) FROM outcrier.node`); got != "n1 1 00:00:01.5 "+recorder.Keys.Seal(from) {
		t.Errorf("node %s", got)
	}
	const row = `SELECT concat_ws(' ', run, stream, node, subject, client_address, topics, types, events, last_event, closed_at IS NOT NULL, end_reason) FROM outcrier.stream`
	if got, want := sqltest.Ask1[string](t, pool, row), "7 1 n1 ann 192.0.2.1:99 {a/**} {} 0 f"; got != want {
		t.Errorf("opened: %s, want %s", got, want)
	}
	id := sqltest.AddNow(t, pool, "a/1", 1)[0]
	sent := sqltest.Here(t, pool)
	record.Progress(sent, 1, id)
	sentBy := sqltest.Ask1[time.Time](t, pool, `SELECT clock_timestamp()`)
	turn(t, recorder, 7)
	if got, want := sqltest.Ask1[string](t, pool, row), fmt.Sprintf("7 1 n1 ann 192.0.2.1:99 {a/**} {} 1 %d f", id); got != want {
		t.Errorf("sent: %s, want %s", got, want)
	}
	record.Closed("stalled")
	turn(t, recorder, 7)
	if got, want := sqltest.Ask1[string](t, pool, row), fmt.Sprintf("7 1 n1 ann 192.0.2.1:99 {a/**} {} 1 %d t stalled", id); got != want {
		t.Errorf("closed: %s, want %s", got, want)
	}
	var opened, stood, closed time.Time
	var position string
	if err := pool.QueryRow(t.Context(), `SELECT opened_at, position_at, closed_at, position FROM outcrier.stream`).Scan(&opened, &stood, &closed, &position); err != nil {
		t.Fatal(err)
	}
	if opened.Before(before.Add(-time.Second)) || opened.After(after) || stood.Before(opened) || stood.After(sentBy.Add(time.Second)) || closed.Before(stood) {
		t.Errorf("opened %v (between %v and %v), stood %v (sent by %v), closed %v", opened, before, after, stood, sentBy, closed)
	}
	if position != recorder.Keys.Seal(sent) {
		t.Errorf("it stood at %s, want %s", position, sent)
	}
	// The record of an ended stream does not change afterwards, whoever writes.
	again := newAudit(t, pool, "n1")
	again.Opened(audit.Stream{Subject: "mallory", From: from})
	turn(t, again, 7)
	if got := sqltest.Ask1[string](t, pool, `SELECT subject || end_reason FROM outcrier.stream`); got != "annstalled" {
		t.Errorf("it was told anew: %s", got)
	}
}

// A stream goes on while its row is on its way to the table.
func TestAudit_WhatIsBeingWrittenStays(t *testing.T) {
	pool := outboxtest.New(t)
	recorder := newAudit(t, pool, "n")
	record := recorder.Opened(audit.Stream{Filter: sqltest.All("**"), From: sqltest.Here(t, pool)})
	record.Progress(sqltest.Here(t, pool), 1, 7)
	written := record.LastWritten()
	record.Progress(sqltest.Here(t, pool), 1, 8)
	if id := written(); id != 7 {
		t.Errorf("the last event became %d, want 7", id)
	}
}

// An open stream's row is not written at each event.
func TestAudit_WritesOpenStreamsNowAndThen(t *testing.T) {
	pool := outboxtest.New(t)
	recorder := newAudit(t, pool, "n")
	record := recorder.Opened(audit.Stream{Filter: sqltest.All("**"), From: sqltest.Here(t, pool)})
	turn(t, recorder, 1)
	id := sqltest.AddNow(t, pool, "a", 1)[0]
	record.Progress(sqltest.Here(t, pool), 1, id)
	if err := recorder.TurnAs(t.Context(), 1, time.Hour); err != nil {
		t.Fatal(err)
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT events FROM outcrier.stream`); n != 0 {
		t.Errorf("%d events are told of at once", n)
	}
	record.Closed("left")
	if err := recorder.TurnAs(t.Context(), 1, time.Hour); err != nil {
		t.Fatal(err)
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.receipts WHERE id = $1`, id); n != 1 {
		t.Errorf("%d receipts when it has ended", n)
	}
}

func TestAudit_StreamsOfALostNodeAreClosed(t *testing.T) {
	pool := outboxtest.New(t)
	lost, other := newAudit(t, pool, "a"), newAudit(t, pool, "b")
	from := sqltest.Here(t, pool)
	open := lost.Opened(audit.Stream{Subject: "open", From: from})
	lost.Opened(audit.Stream{Subject: "closed", From: from}).Closed("left")
	other.Opened(audit.Stream{Subject: "other", From: from})
	turn(t, lost, 1)
	turn(t, other, 2)
	const told = `SELECT string_agg(concat_ws(' ', subject, end_reason), ', ' ORDER BY subject) FROM outcrier.stream`
	if got := sqltest.Ask1[string](t, pool, told); got != "closed left, open, other" {
		t.Fatalf("streams: %s", got)
	}
	sqltest.Exec(t, pool, `UPDATE outcrier.node SET seen_at = now() - interval '31 seconds' WHERE run = 1`)
	turn(t, other, 2)
	if got := sqltest.Ask1[string](t, pool, told); got != "closed left, open node lost, other" {
		t.Errorf("when it is lost: %s", got)
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.node`); n != 1 {
		t.Errorf("%d nodes", n)
	}
	// It had only been cut off.
	turn(t, lost, 1)
	if got := sqltest.Ask1[string](t, pool, told); got != "closed left, open, other" {
		t.Errorf("when it is back: %s", got)
	}
	open.Closed("drain")
	turn(t, lost, 1)
	if got := sqltest.Ask1[string](t, pool, told); got != "closed left, open drain, other" {
		t.Errorf("in the end: %s", got)
	}
}

func TestAudit_RunWritesAndLeavesNothingOpen(t *testing.T) {
	pool := outboxtest.New(t)
	recorder := newAudit(t, pool, "n")
	recorder.StopWithin(testkit.Deadline) // a busy machine takes longer
	ctx, cancel := context.WithCancelCause(context.Background())
	over, ended := errors.New("over"), make(chan error)
	go func() { ended <- recorder.Run(ctx) }()
	from := sqltest.Here(t, pool)
	for i := range 2500 { // more than a batch
		record := recorder.Opened(audit.Stream{Subject: fmt.Sprint(i), From: from})
		if i > 0 {
			record.Closed("left")
		}
	}
	testkit.Eventually(t, "all streams are on record", func() bool {
		return sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.stream WHERE subject = '0' OR end_reason = 'left'`) == 2500
	})
	recorder.Opened(audit.Stream{Subject: "last", From: from}).Closed("drain")
	cancel(over)
	if err := <-ended; !errors.Is(err, over) {
		t.Errorf("it ended by %v", err)
	}
	if got := sqltest.Ask[string](t, pool, `SELECT subject || ' ' || end_reason FROM outcrier.stream WHERE end_reason <> 'left' ORDER BY subject`); !slices.Equal(got, []string{"0 node stopped", "last drain"}) {
		t.Errorf("in the end: %v", got)
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.node`); n != 0 {
		t.Errorf("%d nodes", n)
	}
}

func TestAudit_KeepsWhatCanNotBeWrittenWithinItsBacklog(t *testing.T) {
	pool := outboxtest.New(t)
	recorder := newAudit(t, pool, "n")
	recorder.Backlog = 10
	from := sqltest.Here(t, pool)
	sqltest.Exec(t, pool, `ALTER TABLE outcrier.stream RENAME TO away`)
	open := recorder.Opened(audit.Stream{Subject: "open", From: from})
	for range 15 {
		recorder.Opened(audit.Stream{Subject: "ended", From: from}).Closed("left")
	}
	for range 2 {
		if err := recorder.TurnAs(t.Context(), 1, 0); err == nil {
			t.Fatal("it could be written")
		}
	}
	if n := recorder.Stats().Dropped; n != 5 {
		t.Errorf("%d are dropped, want 5", n)
	}
	sqltest.Exec(t, pool, `ALTER TABLE outcrier.away RENAME TO stream`)
	turn(t, recorder, 1)
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.stream`); n != 11 {
		t.Errorf("%d are written when it can be, want 11", n)
	}
	open.Closed("left")
	turn(t, recorder, 1)
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.stream WHERE closed_at IS NULL`); n != 0 {
		t.Errorf("%d are open", n)
	}
}

// What a stranger sends in a token or a header can't keep the others' records
// from being written.
func TestAudit_TakesAnyText(t *testing.T) {
	pool := outboxtest.New(t)
	recorder := newAudit(t, pool, "n\x00\xff")
	from, wrong := sqltest.Here(t, pool), sqltest.Here(t, pool)
	wrong.Given.Max = 1 << 63
	for _, subject := range []string{"a\x00b", "\xff\xfe", strings.Repeat("é", 2000), `\u0000`, "'; DROP TABLE outbox"} {
		recorder.Opened(audit.Stream{Subject: subject, ClientAddress: subject, Filter: sqltest.All(outbox.Pattern(subject)), From: from}).Closed(subject)
	}
	recorder.Opened(audit.Stream{Subject: "wrong", From: wrong})
	turn(t, recorder, 1)
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.stream`); n != 5 || recorder.Stats().Dropped != 1 {
		t.Errorf("%d are written and %d dropped, want 5 and 1", n, recorder.Stats().Dropped)
	}
	turn(t, recorder, 1)
	if recorder.Stats().Dropped != 1 {
		t.Error("it was dropped twice")
	}
}

func TestAudit_NoneIsNoTrouble(t *testing.T) {
	var recorder *audit.Recorder
	record := recorder.Opened(audit.Stream{})
	record.Live(position.Position{})
	record.Jumped(position.Position{})
	record.Progress(position.Position{}, 1, 1)
	record.Closed("left")
}

// Sets of one history say nothing of another.
func TestAudit_AnotherHistoryBeginsAnew(t *testing.T) {
	pool := outboxtest.New(t)
	recorder := newAudit(t, pool, "n")
	record := recorder.Opened(audit.Stream{Filter: sqltest.All("**"), From: sqltest.Here(t, pool)})
	sqltest.AddNow(t, pool, "a", 2)
	sqltest.Exec(t, pool, `UPDATE outcrier.history_id SET system_identifier = 1`)
	sqltest.Exec(t, pool, `SELECT outcrier.settle()`)
	turn(t, recorder, 1)
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.receipts`); n != 0 {
		t.Errorf("%d receipts of another history", n)
	}
	record.Progress(sqltest.Here(t, pool), 0, 0)
	id := sqltest.AddNow(t, pool, "a", 1)[0]
	record.Progress(sqltest.Here(t, pool), 1, id)
	turn(t, recorder, 1)
	if got := sqltest.Ask[int64](t, pool, `SELECT id FROM outcrier.receipts`); !slices.Equal(got, []int64{id}) {
		t.Errorf("receipts of %v, want %d", got, id)
	}
}

// After a gap within a history a stream's receipts begin again; and a stream that began
// by a time has receipts for later events whatever their time.
func TestAudit_GivesNoReceiptsOfWhatAGapJumpsOver(t *testing.T) {
	pool := outboxtest.New(t)
	recorder := newAudit(t, pool, "n")
	from := sqltest.Here(t, pool)
	later := sqltest.All("**")
	later.Since = time.Now().Add(time.Hour) // by a clock that is ahead
	plain := recorder.Opened(audit.Stream{Filter: sqltest.All("**"), From: from})
	since := recorder.Opened(audit.Stream{Filter: later, From: from})
	since.Live(from)
	sqltest.AddNow(t, pool, "a", 2)
	behind := sqltest.Here(t, pool)
	id := sqltest.AddNow(t, pool, "a", 1)[0]
	for _, record := range []*audit.StreamRecord{plain, since} {
		record.Jumped(behind)
		record.Progress(sqltest.Here(t, pool), 1, id)
	}
	turn(t, recorder, 1)
	if got := sqltest.Ask[int64](t, pool, `SELECT id FROM outcrier.receipts`); !slices.Equal(got, []int64{id, id}) {
		t.Errorf("receipts of %v, want two of %d", got, id)
	}
}

// fillStreams makes n streams, one a transaction apart, that were open for the
// length of 100.
func fillStreams(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	sqltest.Exec(t, pool, `INSERT INTO outcrier.stream (run, stream, node, subject, client_address, topics, types, history, from_position, from_set,
			position, position_set, position_at, events, opened_at, closed_at, end_reason)
		SELECT 1, n, 'n', 'user' || n % 1000, '192.0.2.1', ARRAY['user/' || n % 1000 || '/**'], '{}', h.history, 'p',
			ROW((x + n)::text::xid8, '{}', NULL, NULL, n)::outcrier.position_set, 'p', ROW((x + n + 100)::text::xid8, '{}', NULL, NULL, n)::outcrier.position_set,
			now(), 1, now(), now(), 'left'
		FROM generate_series(1, $1::int) AS n, (SELECT history FROM outcrier.history_id) AS h, (SELECT max(xid)::text::bigint - 101 AS x FROM outcrier.event) AS o`, n)
	sqltest.Exec(t, pool, `ANALYZE outcrier.stream`)
}

func TestReceipts_AreFoundByIndex(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	id := sqltest.AddNow(t, pool, "user/7/x", 1)[0]
	fillStreams(t, pool, 5000)
	for name, db := range map[string]sqltest.Querier{"the server's": pool, "anybody's": sqltest.Connection(t, url)} {
		plan := strings.Join(sqltest.Ask[string](t, db, fmt.Sprintf(`EXPLAIN (ANALYZE, TIMING off) SELECT subject FROM outcrier.receipts WHERE id = %d`, id)), "\n")
		if !strings.Contains(plan, "stream_xid_range") || strings.Contains(plan, "Seq Scan on stream") {
			t.Errorf("in %s session:\n%s", name, plan)
		}
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.receipts WHERE id = $1`, id); n != 1 {
		t.Errorf("%d receipts, want one: of the hundred streams that were open, user 7's", n)
	}
}

func BenchmarkAudit_Progress(b *testing.B) {
	recorder := &audit.Recorder{}
	record := recorder.Opened(audit.Stream{})
	for b.Loop() {
		record.Progress(position.Position{}, 1, 1)
	}
}

func hitIDs(hits []admin.Hit) (ids []string) {
	for _, hit := range hits {
		ids = append(ids, fmt.Sprint(hit.ID))
	}
	return ids
}

// An event that was perhaps sent has a receipt that says so, until it is known to have
// been sent.
func TestAudit_PerhapsSentHasReceiptsThatSaySo(t *testing.T) {
	pool := outboxtest.New(t)
	recorder := newAudit(t, pool, "n")
	record := recorder.Opened(audit.Stream{Subject: "ann", Filter: sqltest.All("a"), From: sqltest.Here(t, pool)})
	first := sqltest.AddNow(t, pool, "a", 1)[0]
	record.Progress(sqltest.Here(t, pool), 1, first)
	second := sqltest.AddNow(t, pool, "a", 1)[0]
	record.Perhaps(sqltest.Here(t, pool), 1, second)
	receipts := func() string {
		t.Helper()
		turn(t, recorder, 1)
		const query = `SELECT string_agg(concat_ws(' ', r.id, r.perhaps, p.perhaps), ', ' ORDER BY r.id) FROM outcrier.receipts AS r JOIN outcrier.people AS p USING (subject, id)`
		return sqltest.Ask1[string](t, pool, query)
	}
	if got, want := receipts(), fmt.Sprintf("%d f f, %d t t", first, second); got != want {
		t.Errorf("before it is known: %s, want %s", got, want)
	}
	third := sqltest.AddNow(t, pool, "a", 1)[0]
	record.Perhaps(sqltest.Here(t, pool), 1, third)
	if got, want := receipts(), fmt.Sprintf("%d f f, %d t t, %d t t", first, second, third); got != want {
		t.Errorf("of two writes: %s, want %s", got, want)
	}
	a := admin.New(pool)
	said := func() string {
		t.Helper()
		found, err := a.Sent(t.Context(), admin.SentSearch{Subject: "ann"})
		if err != nil || len(found.Events) != 3 {
			t.Fatalf("%+v: %v", found, err)
		}
		text := ""
		for _, e := range found.Events {
			why, err := a.Why(t.Context(), "ann", e.ID)
			if err != nil {
				t.Fatal(err)
			}
			text += fmt.Sprint(e.Perhaps, " ", why.Verdict, " ", why.Streams[0].Verdict, ", ")
		}
		return text
	}
	if got, want := said(), "true perhaps perhaps, true perhaps perhaps, false sent sent, "; got != want {
		t.Errorf("before it is known admins are told %s, want %s", got, want)
	}
	record.Sent()
	if got, want := receipts(), fmt.Sprintf("%d f f, %d f f, %d f f", first, second, third); got != want {
		t.Errorf("when it is known: %s, want %s", got, want)
	}
	if got, want := said(), strings.Repeat("false sent sent, ", 3); got != want {
		t.Errorf("when it is known admins are told %s, want %s", got, want)
	}
}

// What a node says of itself is on record with its heartbeat, every few beats.
func TestAudit_SaysWhatANodeIs(t *testing.T) {
	pool := outboxtest.New(t)
	recorder, asked := newAudit(t, pool, "n"), 0
	at := time.Now().UTC().Truncate(time.Second)
	recorder.About = func() audit.About {
		asked++
		return audit.About{
			Version: "v1", Settings: map[string]string{"retention": "7d"},
			Samples: []audit.Sample{{At: at, Events: 1.5, Streams: 2, Lag: 0}}, Slow: []audit.SlowStream{{Stream: 1, For: 12}},
		}
	}
	record := recorder.Opened(audit.Stream{Subject: "ann", Filter: sqltest.All("a"), From: sqltest.Here(t, pool)})
	recorder.Opened(audit.Stream{Subject: "bob", Filter: sqltest.All("a"), From: sqltest.Here(t, pool)})
	for range 7 {
		turn(t, recorder, 1)
	}
	if asked != 2 {
		t.Errorf("it is asked %d times in seven beats", asked)
	}
	a := admin.New(pool)
	o, err := a.Overview(t.Context())
	if err != nil || len(o.Nodes) != 1 || o.Nodes[0].About == nil || o.Nodes[0].About.Version != "v1" || len(o.Nodes[0].About.Samples) != 1 || !o.Nodes[0].About.Samples[0].At.Equal(at) {
		t.Fatalf("%+v %v", o.Nodes, err)
	}
	slow, err := a.Streams(t.Context(), admin.StreamSearch{Slow: true})
	if err != nil || slow.Total != 1 || slow.Streams[0].Subject != "ann" || *slow.Streams[0].SlowFor != 12 {
		t.Errorf("%+v %v", slow, err)
	}
	record.Progress(sqltest.Here(t, pool), 9, 9)
	turn(t, recorder, 1)
	sent, err := a.Streams(t.Context(), admin.StreamSearch{BySent: true})
	if err != nil || sent.Total != 2 || sent.Streams[0].Subject != "ann" || sent.Streams[1].SlowFor != nil {
		t.Errorf("%+v %v", sent, err)
	}
	record.Closed("stalled")
	turn(t, recorder, 1)
	for reason, want := range map[string]int{"stalled": 1, "left": 0, "": 1} {
		if found, err := a.Streams(t.Context(), admin.StreamSearch{Ended: true, Reason: reason, Subject: "a*"}); err != nil || found.Total != want {
			t.Errorf("ended as %q: %+v %v", reason, found, err)
		}
	}
}
