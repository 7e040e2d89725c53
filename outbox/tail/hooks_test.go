package tail

import (
	"context"
	"log/slog"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/position"
)

// Listener is a tail's listener on a connection of its own.
type Listener struct{ *listener }

// ListenOn is a listener that a test requests and answers with.
func ListenOn(ctx context.Context, conn *pgx.Conn) (Listener, error) {
	l, err := listen(ctx, conn, "", time.Minute, slog.New(slog.DiscardHandler))
	return Listener{l}, err
}

// Request draws a request and returns its number.
func (l Listener) Request(ctx context.Context) (int64, error) {
	var r request
	_, _, err := read(ctx, database.DB{Querier: l.conn, Schema: outbox.DefaultSchema}, position.Position{Given: position.Set{Max: math.MaxInt64}}, true, false, &r, func(Read) error { return nil })
	l.learn(ctx, r.number)
	return l.known, err
}

// Draw has a read draw a request, and returns the next xid that the read has seen, 0 if it
// could not tell.
func Draw(ctx context.Context, conn *pgx.Conn) (next uint64, err error) {
	var r request
	_, _, err = read(ctx, database.DB{Querier: conn, Schema: outbox.DefaultSchema}, position.Position{Given: position.Set{Max: math.MaxInt64}}, true, false, &r, func(Read) error { return nil })
	return r.next, err
}

// Answer answers for the notifications that came by now.
func (l Listener) Answer(ctx context.Context) error {
	// Notifications that were sent before come with the result, as with that of a read.
	if _, err := l.conn.Exec(ctx, `SELECT`); err != nil {
		return err
	}
	return l.answer(ctx)
}

// Expect has LISTEN tested by a payload.
func (l Listener) Expect(test string) { l.test = test }

// Works reports whether the test was heard.
func (l Listener) Works() bool { return l.works }

// Wait waits for a notification, d at most, and Take takes those that came with an
// answer.
func (l Listener) Wait(ctx context.Context, d time.Duration) (bool, error) { return l.wait(ctx, d) }
func (l Listener) Take(ctx context.Context) bool                           { return l.take(ctx) }

// Channel is the channel of LISTEN.
func (l Listener) Channel() string { return l.channel }

// ReadOnce is one read of a tail, as for few events or for many.
func ReadOnce(ctx context.Context, conn *pgx.Conn, from position.Position, few, around bool, deliver func(Read)) (to position.Position, xip []uint64, err error) {
	to, s, err := read(ctx, database.DB{Querier: conn, Schema: outbox.DefaultSchema}, from, few, around, nil, func(r Read) error { deliver(r); return nil })
	return to, s.InProgress, err
}

// ErrReset is what ends a read that finds the outbox reset.
var ErrReset = errReset

// ReadKeysEvery has the tail read the keys of positions so often.
func (t *Tail) ReadKeysEvery(d time.Duration) { t.keysEvery = d }

// WatchErasuresEvery has a long read look for erasures so often.
func (t *Tail) WatchErasuresEvery(d time.Duration) { t.erasedEvery = d }
