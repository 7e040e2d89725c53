package outbox

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

// Bell is a tail's bell on a connection of its own.
type Bell struct{ *bell }

// ListenBell is a bell that a test asks and answers.
func ListenBell(ctx context.Context, conn *pgx.Conn) (Bell, error) {
	b, err := listen(ctx, conn, time.Minute, slog.New(slog.DiscardHandler))
	return Bell{b}, err
}

// Ask draws a ticket and returns its number.
func (b Bell) Ask(ctx context.Context) (int64, error) {
	_, err := b.ask(ctx)
	return b.known, err
}

// Answer answers for what was rung with by now.
func (b Bell) Answer(ctx context.Context) error {
	// What was sent before comes with the result, as with that of a read.
	if _, err := b.conn.Exec(ctx, `SELECT`); err != nil {
		return err
	}
	return b.answer(ctx)
}

// Expect has the bell proven by a payload.
func (b Bell) Expect(proof string) { b.proof = proof }

// Proven tells whether it is.
func (b Bell) Proven() bool { return b.proven }

// Wait waits for the bell, d at most, and Take takes what came with an answer.
func (b Bell) Wait(ctx context.Context, d time.Duration) (bool, error) { return b.wait(ctx, d) }
func (b Bell) Take(ctx context.Context) bool                           { return b.take(ctx) }

// Channel is what is listened to.
func (b Bell) Channel() string { return b.channel }

// Like is the pattern as Postgres gets it.
func (p Pattern) Like() string { return p.like() }

// Bounds are those of the topics that Postgres lists for the pattern.
func (p Pattern) Bounds() (low, high string, bounded bool) { return p.bounds() }

// ReadOnce is one read of a tail, as for few events or for many.
var ReadOnce = read

// Here is where a tail starts.
var Here = here

// SearchFor has a page of a search take no longer than about d.
func (a *Admin) SearchFor(d time.Duration) { a.searchTime = d }

// Busy returns when no turn is left.
func (a *Admin) Busy() {
	for len(a.turns) < cap(a.turns) {
		time.Sleep(time.Millisecond)
	}
}
