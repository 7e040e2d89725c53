package tamarind

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outcrier/outcrier/outbox"
)

// transaction runs do in a transaction of its own, and keeps the SQL of one that was
// committed for those who want to see where an event came from.
func (b *Business) transaction(ctx context.Context, do func(tx pgx.Tx) error) error {
	r := &recorder{}
	err := pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		r.Tx = tx
		return do(r)
	})
	if err == nil {
		b.recent.keep(r)
	}
	return err
}

// recorder is a transaction that records its statements.
type recorder struct {
	pgx.Tx
	statements []string
	events     []int64
}

func (r *recorder) note(sql string, args []any) {
	r.statements = append(r.statements, written(sql, args))
}

// Exec is pgx's.
func (r *recorder) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	r.note(sql, args)
	return r.Tx.Exec(ctx, sql, args...)
}

// Query is pgx's.
func (r *recorder) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	r.note(sql, args)
	return r.Tx.Query(ctx, sql, args...)
}

// QueryRow is pgx's.
func (r *recorder) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	r.note(sql, args)
	return r.Tx.QueryRow(ctx, sql, args...)
}

// appendEvents appends in a transaction of the business. The page shows the INSERT that
// does the same from any language.
func appendEvents(ctx context.Context, tx pgx.Tx, drafts ...outbox.Draft) ([]int64, error) {
	r, recorded := tx.(*recorder)
	if recorded {
		tx = r.Tx
	}
	ids, err := outbox.Append(ctx, tx, drafts...)
	if recorded && err == nil {
		r.events = append(r.events, ids...)
		r.statements = append(r.statements, insertOf(drafts))
	}
	return ids, err
}

func insertOf(drafts []outbox.Draft) string {
	scheduled := slices.ContainsFunc(drafts, func(d outbox.Draft) bool { return !d.DeliverAt.IsZero() })
	rows := make([]string, len(drafts))
	for i, d := range drafts {
		payload, _ := json.Marshal(d.Payload)
		columns := []string{literal(d.Topic), literal(d.Type), literal(string(payload)), literal(d.Source)}
		if scheduled && d.DeliverAt.IsZero() {
			columns = append(columns, "NULL")
		} else if scheduled {
			columns = append(columns, literal(d.DeliverAt))
		}
		rows[i] = "  (" + strings.Join(columns, ", ") + ")"
	}
	due := ""
	if scheduled {
		due = ", deliver_at"
	}
	return "INSERT INTO outbox (topic, type, payload, source" + due + ") VALUES\n" + strings.Join(rows, ",\n")
}

// written is a statement as one would type it in psql, for people to read.
func written(sql string, args []any) string {
	lines := strings.Split(strings.Trim(sql, " \n\t"), "\n")
	indent := -1
	for _, line := range lines[1:] {
		if text := strings.TrimLeft(line, "\t "); text != "" && (indent < 0 || len(line)-len(text) < indent) {
			indent = len(line) - len(text)
		}
	}
	for i := range lines[1:] {
		lines[i+1] = strings.ReplaceAll(lines[i+1][min(max(indent, 0), len(lines[i+1])):], "\t", "  ")
	}
	text := strings.Join(lines, "\n")
	return parameter.ReplaceAllStringFunc(text, func(p string) string {
		if n, err := strconv.Atoi(p[1:]); err == nil && n > 0 && n <= len(args) {
			return literal(args[n-1])
		}
		return p
	})
}

var parameter = regexp.MustCompile(`\$\d+`)

// literal is a value in SQL.
func literal(value any) string {
	switch v := value.(type) {
	case nil:
		return "NULL"
	case bool, int, int64, float64:
		return fmt.Sprint(v)
	case time.Duration:
		return fmt.Sprintf("interval '%v s'", v.Seconds())
	case time.Time:
		return "'" + v.UTC().Format("2006-01-02 15:04:05.999999+00") + "'"
	case []int64:
		return "'" + strings.NewReplacer("[", "{", "]", "}", " ", ",").Replace(fmt.Sprint(v)) + "'"
	}
	return "'" + strings.ReplaceAll(fmt.Sprint(value), "'", "''") + "'"
}

// recentMax is how many events are remembered with their SQL.
const recentMax = 2000

// recent are the newest transactions of this process, by the ids of their events.
type recent struct {
	mu    sync.Mutex
	of    map[int64][]string
	order []int64
}

func (t *recent) keep(r *recorder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of = map[int64][]string{}
	}
	for _, id := range r.events {
		t.of[id] = r.statements
		if t.order = append(t.order, id); len(t.order) > recentMax {
			delete(t.of, t.order[0])
			t.order = t.order[1:]
		}
	}
}

func (t *recent) statements(id int64) ([]string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found, ok := t.of[id]
	return found, ok
}

// SQL is a transaction that was committed.
type SQL struct {
	// Statements are without BEGIN and COMMIT.
	Statements []string `json:"statements"`
}

// getSQL answers with the transaction that an event came from, if it was one of this
// process, and not long ago.
func (b *Business) getSQL(r *http.Request) (any, error) {
	id, err := id(r)
	if err != nil {
		return nil, err
	}
	statements, ok := b.recent.statements(id)
	if !ok {
		return nil, problem(http.StatusNotFound, "not_found", "Event %d came from elsewhere.", id)
	}
	return SQL{statements}, nil
}
