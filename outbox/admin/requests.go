package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// RequestSearch selects requests of admins that the audit has on record. Empty fields
// select all.
type RequestSearch struct {
	// Subject is who asked or acted; one that ends in "*" is the beginning of a subject.
	Subject string
	// About is a value of the question or the outcome: a person, a topic, an id.
	About string
	// Acts selects what changes something, and exports.
	Acts bool
	// Before, when above 0, selects numbers below it.
	Before int64
}

// Requested is a request of an admin on record.
type Requested struct {
	ID            int64     `json:"id"`
	RequestedAt   time.Time `json:"requested_at"`
	Node          string    `json:"node"`
	Subject       string    `json:"subject"`
	ClientAddress string    `json:"client_address"`
	// Request is the method and the route, Question the parameters.
	Request  string            `json:"request"`
	Question map[string]string `json:"question"`
	// Result is "done"; "refused"; "failed" of a read that was not answered; or "perhaps" of
	// a request whose outcome is not known: it errs on the side of done.
	Result string `json:"result"`
	// Status is that of the answer, and Why the reason for one of 400 or more; nil where
	// there was no answer.
	Status *int    `json:"status"`
	Why    *string `json:"why"`
	// Done has ids, names and numbers of an act; nil where nothing was done.
	Done json.RawMessage `json:"done"`
}

// RequestPage is how many requests are read at once.
const RequestPage = 100

// isRead is the condition for a request that only reads. An export is no such request: it counts
// as an act.
const isRead = `request ~ '^(GET|HEAD) ' AND request !~ '/export$'`

// Requests reads what admins asked and did, the newest first.
func (a *Admin) Requests(ctx context.Context, s RequestSearch) (list []Requested, err error) {
	if err := errors.Join(plainText("subject", s.Subject, 1000), plainText("about", s.About, 1000)); err != nil {
		return nil, invalid(err)
	}
	q := new(statement)
	q.add(`
SELECT n, requested_at, node, subject, client_address, request, question, CASE
	WHEN (outcome ->> 'status')::int < 400 THEN 'done'
	WHEN (outcome ->> 'status')::int < 500 THEN 'refused'
	WHEN (outcome ->> 'status')::int >= 500 AND ` + isRead + ` THEN 'failed'
	ELSE 'perhaps' END, (outcome ->> 'status')::int, outcome ->> 'why', outcome -> 'done'
FROM outcrier.admin_request WHERE true`)
	q.subject(s.Subject)
	if s.About != "" {
		q.add(" AND outcrier.about(question, outcome) @> ARRAY[?::text]", s.About)
	}
	if s.Acts {
		q.add(" AND NOT (" + isRead + ")")
	}
	if s.Before > 0 {
		q.add(" AND n < ?", s.Before)
	}
	newest := func(order string) string {
		return fmt.Sprintf("%s ORDER BY %s DESC LIMIT %d", &q.sql, order, RequestPage)
	}
	err = a.read(ctx, func(tx database.DB) error {
		if s.About != "" {
			// By the index of values. The planner takes every value for a frequent one, and would
			// go back by n; that is right where so many have it that these take their time.
			err := tx.Savepoint(ctx, func(tx database.DB) (err error) {
				if _, err = tx.Exec(ctx, `SET LOCAL statement_timeout = '500ms'`); err == nil {
					list, err = rowsOf[Requested](ctx, tx, newest("n + 0"), q.args...)
				}
				return err
			})
			if !timedOut(err) {
				return err
			}
		}
		list, err = rowsOf[Requested](ctx, tx, newest("n"), q.args...)
		return err
	})
	return list, err
}
