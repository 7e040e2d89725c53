package outbox

import (
	"context"
	"encoding/json"
	"time"
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
	// Repeats is set for what a page asks again and again by itself: the same within a
	// minute is on record once.
	Repeats bool
}

// adminRequests are those that wait to be written.
type adminRequests struct {
	waiting []adminRequestRow
	// asked is when each question was last put on record.
	asked map[string]time.Time
}

type adminRequestRow struct {
	Age           float64           `json:"age"`
	Subject       string            `json:"subject"`
	ClientAddress string            `json:"client_address"`
	Request       string            `json:"request"`
	Question      map[string]string `json:"question"`

	at time.Time
}

const (
	// sameQuestion is for how long a question that repeats is on record once.
	sameQuestion = time.Minute
	// manyQuestions are remembered at most.
	manyQuestions = 10_000
)

// AdminRequest has a request recorded. It is called before the answer is written, and blocks
// on nothing but memory.
func (a *Audit) AdminRequest(r AdminRequest) {
	if a == nil {
		return
	}
	row := adminRequestRow{
		Subject: clean(r.Subject), ClientAddress: clean(r.ClientAddress), Request: clean(r.Request),
		Question: make(map[string]string, len(r.Question)), at: time.Now(),
	}
	for name, value := range r.Question {
		row.Question[clean(name)] = clean(value)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.Repeats && a.requests.repeated(row) {
		return
	}
	if len(a.requests.waiting) >= a.backlog() {
		a.dropped++
		return
	}
	a.requests.waiting = append(a.requests.waiting, row)
}

// repeated reports whether the question is on record already.
func (r *adminRequests) repeated(row adminRequestRow) bool {
	key, err := json.Marshal(row)
	if err != nil {
		return false
	}
	if last, known := r.asked[string(key)]; known && row.at.Sub(last) < sameQuestion {
		return true
	}
	if r.asked == nil || len(r.asked) >= manyQuestions {
		r.asked = make(map[string]time.Time)
	}
	r.asked[string(key)] = row.at
	return false
}

// writeRequests writes those that wait, a batch at a time.
func (a *Audit) writeRequests(ctx context.Context) error {
	for {
		a.mu.Lock()
		rows := a.requests.waiting[:min(len(a.requests.waiting), auditBatch)]
		a.mu.Unlock()
		if len(rows) == 0 {
			return nil
		}
		for i := range rows {
			rows[i].Age = time.Since(rows[i].at).Seconds()
		}
		encoded, err := json.Marshal(rows)
		if err != nil {
			return err
		}
		patience, cancel := context.WithTimeout(ctx, auditPatience)
		err = inPool(patience, a.Pool, a.Schema, func(q db) error {
			_, err := q.Exec(patience, `SELECT outcrier.record_admin_requests($1, $2::json)`, clean(a.Node), string(encoded))
			return err
		})
		cancel()
		if err != nil {
			return err
		}
		a.mu.Lock()
		a.requests.waiting = a.requests.waiting[len(rows):]
		a.mu.Unlock()
	}
}
