package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Record is one record of the audit.
type Record struct {
	RecordedAt time.Time
	// Kind is stream, admin_request, publication, erasure or day, and Key tells those of a
	// kind apart.
	Kind, Key string
	// Record is JSON.
	Record []byte
}

// Cursor is the place after a record. The zero value is before all.
type Cursor struct {
	RecordedAt time.Time
	Kind, Key  string
}

// String writes the cursor as ParseCursor reads it.
func (c Cursor) String() string {
	return c.RecordedAt.UTC().Format(time.RFC3339Nano) + " " + c.Kind + " " + c.Key
}

// ParseCursor reads a cursor.
func ParseCursor(text string) (c Cursor, err error) {
	fields := strings.Split(text, " ")
	if len(fields) != 3 {
		return c, errors.New("a cursor is a time, a kind and a key")
	}
	c.Kind, c.Key = fields[1], fields[2]
	c.RecordedAt, err = time.Parse(time.RFC3339Nano, fields[0])
	return c, err
}

// margin is how old a record has to be to be exported: one that is younger may be
// overtaken by one whose transaction commits later.
const margin = time.Minute

// pageSize is how many records are read at once.
const pageSize = 1000

// Export calls fn with the records after a cursor and before a time, in their order.
// Those of the last minute are left for the next time. A stream is there when it has
// ended.
func (a Chain) Export(ctx context.Context, after Cursor, until time.Time, fn func(Record) error) error {
	const exportSQL = `
SELECT recorded_at, kind, key, record::text FROM outcrier.audit
WHERE recorded_at >= $1 AND (recorded_at, kind, key) > ($1, $2, $3) AND recorded_at < least($4::timestamptz, clock_timestamp() - $5::interval)
ORDER BY recorded_at, kind, key LIMIT $6`
	for {
		var page []Record
		err := database.InPool(ctx, a.Pool, a.Schema, func(q database.DB) error {
			rows, err := q.Query(ctx, exportSQL, after.RecordedAt, after.Kind, after.Key, nullable(until), margin, pageSize)
			if err != nil {
				return err
			}
			page, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Record, err error) {
				return r, row.Scan(&r.RecordedAt, &r.Kind, &r.Key, &r.Record)
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("export the audit: %w", database.Migrated(err))
		}
		for _, r := range page {
			if err := fn(r); err != nil {
				return err
			}
			after = Cursor{r.RecordedAt, r.Kind, r.Key}
		}
		if len(page) < pageSize {
			return nil
		}
	}
}

// nullable is nil for the zero time.
func nullable(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
