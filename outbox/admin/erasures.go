package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Erasing is what to erase or redact, and why.
type Erasing struct {
	// ID is one event, or 0 for all on topics that match Pattern.
	ID      int64          `json:"id"`
	Pattern outbox.Pattern `json:"pattern"`
	// Payload, when not nil, replaces that of the event, which stays.
	Payload json.RawMessage `json:"payload"`
	// Reason is kept on record.
	Reason string `json:"reason"`
}

// Erasure is on record: who erased or redacted what, when and why.
type Erasure struct {
	Erasure  int64     `json:"erasure"`
	Kind     string    `json:"kind"`
	EventID  *int64    `json:"event_id"`
	Pattern  *string   `json:"pattern"`
	Events   int64     `json:"events"`
	Reason   string    `json:"reason"`
	ErasedBy string    `json:"erased_by"`
	ErasedAt time.Time `json:"erased_at"`
}

// ErrMayNotErase is returned when the node's login lacks the role outcrier_eraser.
var ErrMayNotErase = errors.New("this server may not erase: grant its login the role outcrier_eraser")

// erasePatience is how long one erasure may take. Larger ones are for psql.
const erasePatience = 10 * time.Second

// Erase erases or redacts on behalf of somebody, and returns how many events it did. The
// record has the login and who it was for.
func (a *Admin) Erase(ctx context.Context, e Erasing, by string) (events int64, err error) {
	if err := e.check(); err != nil {
		return 0, invalid(err)
	}
	const bySQL = `SELECT set_config('outcrier.admin', $1, true), set_config('statement_timeout', $2, true)`
	err = a.change(ctx, func(tx database.DB) error {
		if _, err := tx.Exec(ctx, bySQL, database.Clean(by), fmt.Sprint(erasePatience.Milliseconds())); err != nil {
			return err
		}
		switch {
		case e.Payload != nil:
			return tx.QueryRow(ctx, `SELECT outcrier.redact($1, $2::text::json, $3)::int`, e.ID, string(e.Payload), e.Reason).Scan(&events)
		case e.ID > 0:
			return tx.QueryRow(ctx, `SELECT outcrier.erase($1::bigint, $2)`, e.ID, e.Reason).Scan(&events)
		}
		return tx.QueryRow(ctx, `SELECT outcrier.erase($1::text, $2)`, string(e.Pattern), e.Reason).Scan(&events)
	})
	if database.SQLState(err) == "42501" { // insufficient_privilege
		return 0, ErrMayNotErase
	}
	return events, err
}

func (e *Erasing) check() error {
	e.Reason = strings.TrimSpace(e.Reason)
	switch {
	case e.Reason == "":
		return errors.New("reason must be given: it is kept on record")
	case (e.ID > 0) == (e.Pattern != ""):
		return errors.New("give either id or pattern")
	case e.Payload != nil && e.ID == 0:
		return errors.New("payload redacts one event: give its id")
	case e.Pattern != "":
		if _, err := outbox.ParsePattern(string(e.Pattern)); err != nil {
			return err
		}
	}
	return plainText("reason", e.Reason, 1000)
}

// ErasurePage is how many erasures are read at once.
const ErasurePage = 100

// Erasures reads erasures and redactions, the newest first, with ids below the argument if
// it is above 0.
func (a *Admin) Erasures(ctx context.Context, before int64) ([]Erasure, error) {
	const erasuresSQL = `
SELECT erasure, kind, event_id, pattern, events, reason, erased_by, erased_at FROM outcrier.erasure
WHERE $1 = 0 OR erasure < $1 ORDER BY erasure DESC LIMIT $2`
	return readAll[Erasure](ctx, a, erasuresSQL, before, ErasurePage)
}
