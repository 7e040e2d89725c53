package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// AdminRequest is what an admin asked or did by HTTP.
type AdminRequest struct {
	// Subject is whom the token is for, ClientAddress the address that limits go by.
	Subject, ClientAddress string
	// Request is the method and the route, like "GET /admin/api/history/:id".
	Request string
	// Question has the parameters of the path and the query. No body and no answer is ever
	// on record.
	Question map[string]string
	// Repeats is set for a question that a page repeats by itself: the same with the same
	// status within a minute is on record once.
	Repeats bool
}

// AdminOutcome is the outcome of a request.
type AdminOutcome struct {
	// Status is that of the answer; 0 if it had none, since the client had left or the
	// server failed. An act was then perhaps done.
	Status int
	// Why is why it was refused or failed.
	Why string
	// Done has ids, names and numbers of an act, like the id of an event that it appended.
	Done map[string]any
}

// AdminRecord is the record of one request. Its methods do nothing on nil.
type AdminRecord struct {
	audit *Recorder
	// question is the key of a question that repeats; empty for any other.
	question string

	// Guarded by Recorder.mu.
	row adminRequestRow
	// writing is set while the row is being written.
	writing bool
}

// adminRequests are those that wait to be written.
type adminRequests struct {
	// waiting are records whose rows, or whose outcomes, are not written.
	waiting []*AdminRecord
	// asked is when each question was last put on record.
	asked map[string]time.Time
}

// adminRequestRow is what the SQL function record_admin_requests takes of a request.
type adminRequestRow struct {
	// N is the number of the row if it is written, and 0 if not.
	N             int64             `json:"n,omitempty"`
	Age           float64           `json:"age"`
	Subject       string            `json:"subject"`
	ClientAddress string            `json:"client_address"`
	Request       string            `json:"request"`
	Question      map[string]string `json:"question"`
	Outcome       *adminOutcomeRow  `json:"outcome"`

	at time.Time
}

type adminOutcomeRow struct {
	Status int            `json:"status,omitempty"`
	Why    string         `json:"why,omitempty"`
	Done   map[string]any `json:"done,omitempty"`
}

const (
	// sameQuestion is for how long a question that repeats is on record once.
	sameQuestion = time.Minute
	// manyQuestions are remembered at most.
	manyQuestions = 10_000
	// outcomeWait is how long a row waits for its outcome: most are written once.
	outcomeWait = time.Second
	// actPatience is how long an act waits for its record.
	actPatience = 5 * time.Second
)

// AdminRequest has a read recorded. It is called before the answer is written, and blocks
// on nothing but memory. Ended must follow.
func (a *Recorder) AdminRequest(r AdminRequest) *AdminRecord {
	if a == nil {
		return nil
	}
	record := a.adminRecord(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.await(record) {
		return nil
	}
	return record
}

// AdminAct records an act before it begins: if it returns an error the act must not be
// done. Ended must follow in any case. An act whose outcome can't be written, because the
// node dies, stays on record as perhaps done.
func (a *Recorder) AdminAct(ctx context.Context, r AdminRequest) (*AdminRecord, error) {
	if a == nil {
		return nil, nil
	}
	record := a.adminRecord(r)
	ctx, cancel := database.Within(ctx, actPatience)
	defer cancel()
	numbers, err := a.recordRequests(ctx, []adminRequestRow{record.row})
	if err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.await(record)
		return record, fmt.Errorf("record an act: %w", database.Migrated(err))
	}
	record.row.N = numbers[0]
	return record, nil
}

func (a *Recorder) adminRecord(r AdminRequest) *AdminRecord {
	row := adminRequestRow{
		Subject: database.Clean(r.Subject), ClientAddress: database.Clean(r.ClientAddress), Request: database.Clean(r.Request),
		Question: make(map[string]string, len(r.Question)),
	}
	for name, value := range r.Question {
		row.Question[database.Clean(name)] = database.Clean(value)
	}
	record := &AdminRecord{audit: a}
	if r.Repeats {
		question, _ := json.Marshal(row) // strings can't fail
		record.question = string(question)
	}
	row.at = time.Now()
	record.row = row
	return record
}

// await has a record written, and reports whether there is room for it.
func (a *Recorder) await(r *AdminRecord) bool {
	if len(a.requests.waiting) >= a.backlog() {
		a.dropped++
		return false
	}
	a.requests.waiting = append(a.requests.waiting, r)
	return true
}

// Ended notes the outcome of the request. Only the first call counts.
func (r *AdminRecord) Ended(o AdminOutcome) {
	if r == nil {
		return
	}
	a := r.audit
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.row.Outcome != nil {
		return
	}
	r.row.Outcome = &adminOutcomeRow{Status: o.Status, Why: database.Clean(o.Why), Done: cleaned(o.Done)}
	i := a.requests.find(r)
	switch {
	case r.question != "" && a.requests.repeated(fmt.Sprint(o.Status, r.question), r.row.at) && i >= 0 && r.row.N == 0 && !r.writing:
		a.requests.waiting = slices.Delete(a.requests.waiting, i, i+1)
	case i < 0:
		a.await(r)
	}
}

// cleaned has values that JSON and Postgres take.
func cleaned(done map[string]any) map[string]any {
	valid := make(map[string]any, len(done))
	for name, value := range done {
		switch value := value.(type) {
		case int, int64:
			valid[database.Clean(name)] = value
		default:
			valid[database.Clean(name)] = database.Clean(fmt.Sprint(value))
		}
	}
	return valid
}

// find returns where a record waits, or -1. It is one of the newest.
func (q *adminRequests) find(r *AdminRecord) int {
	for i, each := range slices.Backward(q.waiting) {
		if each == r {
			return i
		}
	}
	return -1
}

// repeated reports whether a question is on record already.
func (q *adminRequests) repeated(question string, at time.Time) bool {
	if last, known := q.asked[question]; known && at.Sub(last) < sameQuestion {
		return true
	}
	if q.asked == nil || len(q.asked) >= manyQuestions {
		q.asked = make(map[string]time.Time)
	}
	q.asked[question] = at
	return false
}

// writeRequests writes those that wait, a batch at a time. One without an outcome is left
// until it has waited for it.
func (a *Recorder) writeRequests(ctx context.Context, wait time.Duration) error {
	for {
		batch, rows := a.dueRequests(wait)
		if len(batch) == 0 {
			return nil
		}
		patience, cancel := context.WithTimeout(ctx, statementLimit)
		numbers, err := a.recordRequests(patience, rows)
		cancel()
		a.mu.Lock()
		written := make(map[*AdminRecord]bool, len(batch))
		for i, r := range batch {
			r.writing = false
			if err == nil {
				r.row.N, written[r] = numbers[i], rows[i].Outcome != nil
			}
		}
		a.requests.waiting = slices.DeleteFunc(a.requests.waiting, func(r *AdminRecord) bool { return written[r] })
		a.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// dueRequests returns a batch of records that are to be written, with their rows as they
// are now.
func (a *Recorder) dueRequests(wait time.Duration) (batch []*AdminRecord, rows []adminRequestRow) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.requests.waiting {
		if r.row.Outcome == nil && (r.row.N != 0 || time.Since(r.row.at) < wait) {
			continue
		}
		r.writing = true
		batch, rows = append(batch, r), append(rows, r.row)
		if len(batch) == batchSize {
			break
		}
	}
	return batch, rows
}

// recordRequests writes rows, and returns their numbers.
func (a *Recorder) recordRequests(ctx context.Context, rows []adminRequestRow) (numbers []int64, err error) {
	for i := range rows {
		rows[i].Age = time.Since(rows[i].at).Seconds()
	}
	encoded, err := json.Marshal(rows)
	if err != nil {
		return nil, err
	}
	err = database.InPool(ctx, a.Pool, a.Schema, func(q database.DB) error {
		found, _ := q.Query(ctx, `SELECT outcrier.record_admin_requests($1, $2::json)`, database.Clean(a.Node), string(encoded)) // CollectRows has the error
		numbers, err = pgx.CollectRows(found, pgx.RowTo[int64])
		return err
	})
	if err == nil && len(numbers) != len(rows) {
		err = fmt.Errorf("%d of %d requests were recorded", len(numbers), len(rows))
	}
	return numbers, err
}
