package torture

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/position"
)

// TestFault_Table: what can be done to the table itself.
func TestFault_Table(t *testing.T) {
	t.Parallel()
	server := startPostgres(t)
	f := newField(t, server.URL(""), 2, "--replay-buffer", "64KiB")
	f.prepare()

	// No node makes partitions meanwhile, as each does when it starts.
	holder, err := connect(t.Context(), f.url)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close(context.Background())
	for _, statement := range []string{
		`BEGIN`, `INSERT INTO outcrier.maintenance (work) VALUES ('partitions') ON CONFLICT DO NOTHING`,
		`SELECT FROM outcrier.maintenance WHERE work = 'partitions' FOR UPDATE`,
	} {
		if _, err := holder.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	// Every day's partition is gone: all goes into the DEFAULT one.
	for day := range 4 {
		execute(t, f.url, `DROP TABLE `+partitionOf(day))
	}
	// One of a past day, with events of then.
	yesterday := partitionOf(-1)
	execute(t, f.url, fmt.Sprintf(`CREATE TABLE %s PARTITION OF outcrier.event FOR VALUES FROM (%s) TO (%s)`, yesterday, dayOf(-1), dayOf(0)),
		`INSERT INTO outcrier.event (topic, type, payload, created_at)
		SELECT 'torture/0/0', 'torture.happened', json_build_object('k', 'yesterday', 'n', n), `+dayOf(-1)+` FROM generate_series(1, 1000) AS n`)
	f.write(6)
	f.read(8)
	f.recover("the start", testkit.Deadline)
	f.suffer("partitions missing", 5*time.Second, func() { f.pause(500*time.Millisecond, time.Second) })
	f.suffer("past partition detached and attached", 5*time.Second, func() {
		f.alter(`ALTER TABLE outcrier.event DETACH PARTITION ` + yesterday)
		f.pause(200*time.Millisecond, 500*time.Millisecond)
		f.alter(fmt.Sprintf(`ALTER TABLE outcrier.event ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)`, yesterday, dayOf(-1), dayOf(0)))
	})
	fresh := &reader{name: "fresh", filter: everything(), steady: new(atomic.Bool)}
	f.follow(fresh, true)
	f.recover("a fresh reader", testkit.Deadline)

	// From here on history changes.
	for _, r := range f.readers {
		r.forgiving.Store(true)
	}
	f.lossy = true
	f.suffer("no partition at all", 5*time.Second, func() {
		f.alter(`ALTER TABLE outcrier.event DETACH PARTITION outcrier.event_default`)
		if err := attempt(t.Context(), f.url, `INSERT INTO outbox (topic, type) VALUES ('torture/0/0', 'torture.happened')`); err == nil {
			t.Error("an append without a partition is taken")
		}
		f.pause(200*time.Millisecond, 500*time.Millisecond)
		f.alter(`ALTER TABLE outcrier.event ATTACH PARTITION outcrier.event_default DEFAULT`)
	})
	if _, err := holder.Exec(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	f.suffer("table truncated", 5*time.Second, func() {
		f.alter(`TRUNCATE outcrier.event`)
		f.client[0].Cut()
	})
	f.suffer("table truncated while readers replay", 5*time.Second, func() {
		execute(t, f.url, `INSERT INTO outbox (topic, type, payload)
			SELECT 'torture/0/0', 'torture.happened', json_build_object('k', 'bulk', 'n', n) FROM generate_series(1, 5000) AS n`)
		for _, network := range f.client {
			network.Cut()
		}
		f.pause(10*time.Millisecond, 100*time.Millisecond)
		f.alter(`TRUNCATE outcrier.event`)
	})
	f.end()
	for i, r := range f.readers {
		for _, reason := range r.told() {
			if reason != string(position.OtherHistory) && reason != string(position.Ahead) {
				t.Errorf("reader %d was told of a gap with reason %q", i, reason)
			}
		}
	}
}

// alter runs a statement that locks the table as an operator should: it gives up soon,
// so that no writers queue after it, and tries again.
func (f *field) alter(statement string) {
	f.t.Helper()
	testkit.Eventually(f.t, statement, func() bool {
		err := attempt(f.t.Context(), f.url, `SET lock_timeout = '200ms'; `+statement)
		var pg *pgconn.PgError
		switch {
		case err == nil:
			return true
		case errors.As(err, &pg) && pg.Code == "55P03":
			// A prepared transaction holds its locks until it is resolved.
			_ = f.business.resolve(f.t.Context(), f.chance, true)
			return false
		}
		f.t.Fatalf("%s: %v", statement, err)
		return false
	})
}

// partitionOf is the name of the partition that many days after today, dayOf its
// beginning as SQL.
func partitionOf(days int) string {
	return time.Now().UTC().AddDate(0, 0, days).Format("outcrier.event_2006_01_02")
}

func dayOf(days int) string {
	return time.Now().UTC().AddDate(0, 0, days).Format("'2006-01-02 00:00:00+00'")
}

// TestFault_SequenceSetBack: ids come again. They are no longer in the order of
// appends, and two events may have the same; a reader that is not cut off between the
// two receives each once all the same.
func TestFault_SequenceSetBack(t *testing.T) {
	t.Parallel()
	server := startPostgres(t)
	f := newField(t, server.URL(""), 2, "--replay-buffer", "64KiB")
	const each = 500
	n, session := 0, open(t, f.url)
	appendSome := func() {
		for range each / 10 {
			session.run(fmt.Sprintf(`INSERT INTO outbox (topic, type, payload)
				SELECT 'torture/0/0', 'torture.happened', json_build_object('k', 'back', 'n', n) FROM generate_series(%d, %d) AS n`, n+1, n+10))
			n += 10
		}
	}
	follow := func(name string) {
		f.follow(&reader{name: name, filter: everything(), byPayload: map[payload]int{}, steady: new(atomic.Bool)}, true)
	}
	follow("live")
	appendSome()
	f.recover("the start", testkit.Deadline)
	f.suffer("sequence set back", 10*time.Second, func() {
		execute(t, f.url, `SELECT setval('outcrier.event_id', 1)`)
		appendSome()
	})
	follow("fresh")
	f.recover("a fresh reader", testkit.Deadline)
	execute(t, f.url, `SELECT setval('outcrier.event_id', 100000)`, `INSERT INTO outbox (topic, type) VALUES ('`+endTopic+`', 'torture.ended')`)
	stop := time.AfterFunc(2*testkit.Deadline, f.stopReading)
	f.readingDone.Wait()
	stop.Stop()
	w := f.windows[0].finding
	for _, r := range f.readers {
		for _, fault := range r.faults {
			t.Error(fault)
			w.repeated++
		}
		if missing := n - len(r.byPayload); missing != 0 || !r.ended {
			t.Errorf("%s: %d of %d events lost, the end seen: %t", r.name, missing, n, r.ended)
			w.lost += missing
		}
		w.given += len(r.byPayload)
	}
	w.flying = each
	findings.add(w)
}
