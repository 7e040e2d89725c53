package replay_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
)

// A position of a tail is held against the database that answers, before anything is
// joined to it.
func TestReader_KnowsATailThatIsElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, pool *pgxpool.Pool, w *position.Position)
		apart  bool
	}{
		"no tail":         {func(_ *testing.T, _ *pgxpool.Pool, w *position.Position) { *w = position.Position{} }, false},
		"the same":        {func(*testing.T, *pgxpool.Pool, *position.Position) {}, false},
		"later":           {func(t *testing.T, pool *pgxpool.Pool, _ *position.Position) { sqltest.AddNow(t, pool, "a", 3) }, false},
		"another history": {func(_ *testing.T, _ *pgxpool.Pool, w *position.Position) { w.History++ }, true},
		"a commit that was lost": {func(t *testing.T, pool *pgxpool.Pool, w *position.Position) {
			sqltest.Lose(t, pool, `xid = $1`, w.Anchor.XID)
		}, true},
		"another event in its place": {func(_ *testing.T, _ *pgxpool.Pool, w *position.Position) { w.Anchor.Hash++ }, true},
		"a commit that is yet to come": {func(_ *testing.T, _ *pgxpool.Pool, w *position.Position) {
			w.Anchor.XID += 1000
			w.Given.Max = w.Anchor.XID
		}, true},
		"a commit that retention removed": {func(t *testing.T, pool *pgxpool.Pool, _ *position.Position) {
			sqltest.AddNow(t, pool, "b", 1)
			sqltest.Exec(t, pool, `SELECT outcrier.delete_expired('a', '1 minute', 100, clock_timestamp() + interval '1 hour')`)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := outboxtest.New(t)
			sqltest.AddNow(t, pool, "a", 2)
			p := sqltest.Here(t, pool)
			sqltest.AddNow(t, pool, "a", 2)
			w := sqltest.Here(t, pool)
			test.change(t, pool, &w)
			reader := replay.Reader{Pool: pool}
			_, _, verified := reader.Verify(t.Context(), p, sqltest.All("**"), w)
			_, earliest := reader.Earliest(t.Context(), w)
			_, before := reader.Before(t.Context(), time.Now(), w)
			for what, err := range map[string]error{"Verify": verified, "Earliest": earliest, "Before": before} {
				if err != nil && !test.apart || test.apart && !errors.Is(err, replay.ErrApart) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}
