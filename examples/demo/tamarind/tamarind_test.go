package tamarind

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func newBusiness(t *testing.T) *Business {
	t.Helper()
	b, err := Open(t.Context(), outboxtest.New(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// event is a row of the outbox, as far as tests look at it.
type event struct {
	ID      int64
	XID     uint64
	Topic   string
	Type    string
	Payload json.RawMessage
}

func events(t *testing.T, pool *pgxpool.Pool) []event {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT id, xid, topic, type, payload FROM outcrier.event ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[event])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// wantEvents checks "topic type" of all events after the first skip, and that
// they are of one transaction.
func wantEvents(t *testing.T, d *Business, skip int, want ...string) []event {
	t.Helper()
	list := events(t, d.pool)[skip:]
	var got []string
	for _, e := range list {
		got = append(got, e.Topic+" "+e.Type)
		if e.XID != list[0].XID {
			t.Errorf("event %d is of another transaction than event %d", e.ID, list[0].ID)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	return list
}

// wantProblem checks that err is a Problem with this status, about this field.
func wantProblem(t *testing.T, err error, status int, field string) {
	t.Helper()
	var p *Problem
	if !errors.As(err, &p) {
		t.Fatalf("got error %v, want a problem with status %d", err, status)
	}
	if p.Status != status || p.Field != field {
		t.Errorf("got problem %d on %q (%s), want %d on %q", p.Status, p.Field, p.Detail, status, field)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// exactlyOne runs all at once, checks that one succeeds, and returns the errors of the others.
func exactlyOne(t *testing.T, all ...func() error) []error {
	t.Helper()
	results := make([]error, len(all))
	var group sync.WaitGroup
	for i, do := range all {
		group.Go(func() { results[i] = do() })
	}
	group.Wait()
	var refused []error
	for _, err := range results {
		if err != nil {
			refused = append(refused, err)
		}
	}
	if len(refused) != len(all)-1 {
		t.Errorf("%d of %d were refused (%v), want all but one", len(refused), len(all), refused)
	}
	return refused
}

func TestMigrate_TwoNodesAtOnceBesideOutbox(t *testing.T) {
	pool := outboxtest.New(t)
	const versionsSQL = `SELECT count(*) FROM outcrier.schema_migration`
	var before, after, own int
	if err := pool.QueryRow(t.Context(), versionsSQL).Scan(&before); err != nil {
		t.Fatal(err)
	}
	var nodes sync.WaitGroup
	for range 2 {
		nodes.Go(func() {
			if err := Migrate(context.Background(), pool); err != nil {
				t.Error(err)
			}
		})
	}
	nodes.Wait()
	if err := pool.QueryRow(t.Context(), versionsSQL).Scan(&after); err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("outcrier.schema_migration has %d rows, had %d", after, before)
	}
	if err := pool.QueryRow(t.Context(), `SELECT max(version_id) FROM demo_goose_version`).Scan(&own); err != nil {
		t.Fatal(err)
	}
	if own != 2 {
		t.Errorf("demo_goose_version is at %d, want 2", own)
	}
}
