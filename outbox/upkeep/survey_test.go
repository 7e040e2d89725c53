package upkeep_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/upkeep"
)

func TestSurvey_CountsWhatIsInFlightUntilItIsCommitted(t *testing.T) {
	pool := outboxtest.New(t)
	survey := func() upkeep.Survey {
		t.Helper()
		s, err := upkeep.TakeSurvey(t.Context(), pool, outbox.DefaultSchema)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := survey(); s.InFlight != 0 || s.OldestInFlight != 0 || s.DaysAhead != 3 || s.Scheduled != 0 || s.Overdue != 0 {
		t.Errorf("an idle outbox: %+v", s)
	}
	begin := func(statement string) pgx.Tx {
		t.Helper()
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	appending := begin(`INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	if _, err := appending.Exec(t.Context(), `SAVEPOINT s; INSERT INTO outbox (topic, type) VALUES ('a', 't')`); err != nil {
		t.Fatal(err) // which has an xid of its own
	}
	reading := begin(`SELECT count(*) FROM outcrier.event`)
	if s := survey(); s.InFlight != 1 || s.OldestInFlight <= 0 {
		t.Errorf("with one that appends and one that reads: %+v", s)
	}
	for _, tx := range []pgx.Tx{appending, reading} {
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	prepare := begin(`INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	if _, err := prepare.Exec(t.Context(), `PREPARE TRANSACTION 'survey'`); err != nil {
		t.Fatal(err)
	}
	_ = prepare.Rollback(t.Context()) // the session has no transaction any more
	if s := survey(); s.InFlight != 1 || s.OldestInFlight <= 0 {
		t.Errorf("with a prepared one: %+v", s)
	}
	if _, err := pool.Exec(t.Context(), `COMMIT PREPARED 'survey'`); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('a', 't', '{}', '/', now() - interval '1 minute')`); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `DO $$ BEGIN EXECUTE 'DROP TABLE outcrier.' || to_char((now() AT TIME ZONE 'UTC')::date + 2, '"event_"YYYY_MM_DD'); END $$`); err != nil {
		t.Fatal(err)
	}
	if s := survey(); s.InFlight != 0 || s.DaysAhead != 1 || s.Scheduled != 1 || s.Overdue.Seconds() < 59 {
		t.Errorf("with a day missing and an event overdue: %+v", s)
	}
}

// A node's own role sees nothing of other roles' sessions.
func TestSurvey_AsAServerKnowsTheOldest(t *testing.T) {
	url := outboxtest.URL(t)
	owner := outboxtest.Pool(t, url)
	if err := (migrations.Migrations{URL: url}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	tx := sqltest.Begin(t, owner)
	sqltest.Add(t, tx, "a")
	s, err := upkeep.TakeSurvey(t.Context(), outboxtest.Pool(t, url+"&options=-c%20role%3Doutcrier_server"), outbox.DefaultSchema)
	if err != nil || s.InFlight != 1 || s.OldestInFlight <= 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
