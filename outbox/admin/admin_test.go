package admin_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/catalogue"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// A node that connects as outcrier_server can answer and do all that admins ask.
func TestAdmin_NeedsNoMoreThanTheServersRole(t *testing.T) {
	url := outboxtest.URL(t)
	if err := (migrations.Migrations{URL: url}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	owner := outboxtest.Pool(t, url)
	const fillSQL = `SELECT outcrier.append('a', 'user.logged_in'), outcrier.append('a', 't', deliver_at => clock_timestamp() + interval '1 hour')`
	if _, err := owner.Exec(t.Context(), fillSQL); err != nil {
		t.Fatal(err)
	}
	config, err := outbox.PoolConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.RuntimeParams["role"] = "outcrier_server"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	a, ctx := admin.New(pool), t.Context()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	o, err := a.Overview(ctx)
	must("overview", err)
	if o.LastID != 1 || o.Scheduled != 1 || len(o.Open) != 0 || o.Lag.Behind != nil || o.Lag.Overdue != 0 || o.Lag.Open != 0 || *o.Lag.OpenFor != 0 {
		t.Errorf("%+v", o)
	}
	if len(o.Topics) != 1 || o.Topics[0].Topic != "a" || o.Topics[0].Events != 1 || o.Topics[0].LastID != 1 {
		t.Errorf("topics %+v", o.Topics)
	}
	found, err := a.Search(ctx, admin.Search{Topic: "a/**", Limit: 10})
	must("search", err)
	if len(found.Events) != 1 || *found.Events[0].Title != "Signed in" {
		t.Errorf("%+v", found)
	}
	_, is, err := a.Event(ctx, 1)
	must("event", err)
	if !is {
		t.Error("the event is not there")
	}
	_, err = a.Receipts(ctx, 1, 0, 0)
	must("receipts", err)
	_, err = a.Streams(ctx, admin.StreamSearch{})
	must("streams", err)
	_, err = a.EndStream(ctx, 1, 1, "me")
	must("end a stream", err)
	planned, err := a.Planned(ctx, admin.PlannedSearch{After: time.Unix(0, 0)})
	must("scheduled", err)
	waited, err := a.Cancel(ctx, planned[0].ID)
	must("cancel", err)
	if !waited {
		t.Error("it did not wait")
	}
	entry, err := a.CreateEventType(ctx, catalogue.EventType{Type: "x", Title: "X", Severity: "info", Action: "none"})
	must("create", err)
	entry.Title = "Y"
	entry, err = a.ChangeEventType(ctx, entry)
	must("change", err)
	must("delete", a.DeleteEventType(ctx, "x", entry.UpdatedAt))
	if err := a.DeleteEventType(ctx, "x", entry.UpdatedAt); !errors.Is(err, catalogue.ErrChanged) {
		t.Errorf("deleted again: %v", err)
	}
	types, err := a.EventTypes(ctx)
	must("catalogue", err)
	if len(types) != 8 {
		t.Errorf("%d types", len(types))
	}
}

// Those who ask wait for each other, not for the streams: with the two turns
// taken, a third gives up when its time is over.
func TestAdmin_FewAreAtTheDatabaseAtOnce(t *testing.T) {
	pool := outboxtest.New(t)
	a := admin.New(pool)
	lock, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback(context.Background()) }()
	if _, err := lock.Exec(t.Context(), `LOCK TABLE outcrier.event_type`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := a.CreateEventType(t.Context(), catalogue.EventType{Type: "x", Title: "X", Severity: "info", Action: "none"})
			done <- err
		}()
	}
	a.Busy() // both have their turn
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errors.New("my time"))
	defer cancel()
	if _, err := a.Overview(ctx); err == nil || err.Error() != "my time" {
		t.Errorf("a third is answered: %v", err)
	}
	for range 2 { // and no call waits for a lock for ever
		if err := <-done; !errors.Is(err, admin.ErrTooSlow) {
			t.Errorf("%v, want that it was too slow", err)
		}
	}
}
