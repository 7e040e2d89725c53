package tail

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// clock is when the clocks were last compared.
type clock struct{ at time.Time }

// Clocks drift: they are compared this often.
const clockEvery = 5 * time.Minute

// compare measures the difference between the clock of Postgres and this machine's.
func (t *Tail) compare(ctx context.Context, conn *pgx.Conn, c *clock) error {
	if !c.at.IsZero() && time.Since(c.at) < clockEvery {
		return nil
	}
	ctx, cancel := database.Within(ctx, t.Silence)
	defer cancel()
	ahead, err := ClockAhead(ctx, conn)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	first := c.at.IsZero()
	c.at = time.Now()
	t.note(func(s *Status) {
		s.ClockAhead, s.ClockKnown = ahead, true
		if first {
			s.Sessions++
		}
	})
	return nil
}

// ClockAhead returns by how much the clock of Postgres is ahead of this machine's: the
// measure of three that had the shortest round trip, half of which it may be wrong
// by.
func ClockAhead(ctx context.Context, conn *pgx.Conn) (ahead time.Duration, err error) {
	var shortest time.Duration
	err = database.InSession(ctx, conn, outbox.DefaultSchema, func(q database.DB) error {
		for i := range 3 {
			var there time.Time
			asked := time.Now()
			if err := q.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&there); err != nil {
				return err
			}
			if took := time.Since(asked); i == 0 || took < shortest {
				shortest, ahead = took, there.Sub(asked.Add(took/2))
			}
		}
		return nil
	})
	return ahead, err
}
