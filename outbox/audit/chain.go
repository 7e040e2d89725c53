package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Chain reads what the audit has recorded to its end, and verifies it. The records of
// each day (UTC) are hashed in their order, and the hash is chained to the day before:
// migration 00008_audit.sql has the details. An hour after a day nothing of it may change.
type Chain struct {
	// Pool is made with outbox.PoolConfig. Its role has the rights of outcrier_operator or
	// outcrier_server.
	Pool *pgxpool.Pool
	// Schema is where the outbox is; the default one by default.
	Schema outbox.Schema
}

// Link is one day of the chain.
type Link struct {
	Day     time.Time
	Records int64
	// Digest is of the day's records, and Link of the day, Digest and the link before.
	Digest, Link []byte
	// Removed is set when retention has removed the records, or has begun to.
	Removed bool
}

// String writes the link to be noted elsewhere, as ParseHead reads it.
func (l Link) String() string {
	return l.Day.Format(time.DateOnly) + ":" + hex.EncodeToString(l.Link)
}

// next is the link that follows one.
func (l Link) next(before []byte) []byte {
	sum := sha256.New()
	sum.Write(before)
	fmt.Fprintf(sum, "%s %d ", l.Day.Format(time.DateOnly), l.Records)
	sum.Write(l.Digest)
	return sum.Sum(nil)
}

// ParseHead reads a link as String writes it: only Day and Link are set.
func ParseHead(text string) (head Link, err error) {
	day, link, _ := strings.Cut(text, ":")
	if head.Day, err = time.Parse(time.DateOnly, day); err == nil {
		head.Link, err = hex.DecodeString(link)
	}
	if err != nil || len(head.Link) != sha256.Size {
		return head, fmt.Errorf("%.100q is not a day and its link, %d hexadecimal digits, like 2026-11-29:5f70…", text, 2*sha256.Size)
	}
	return head, nil
}

// Verified is the outcome of a verification.
type Verified struct {
	// Days are all links, the oldest first, and Records those of the days whose records are
	// still there.
	Days    []Link
	Records int64
	// Unchained are records that are closed, and not in the chain yet: those of today, of
	// yesterday until an hour after its end, or of days whose links no node has made. They
	// may have been altered or removed without a fault.
	Unchained Unverified
	// Open are the streams that have not ended: their records go on to change.
	Open Unverified
	// Faults names, one a line, the records that were altered or removed.
	Faults []string
}

// Unverified is how many records a verification could not hold against the chain.
type Unverified struct {
	Records int64
	// Since is when the oldest of them was closed, or of open streams was opened; zero when
	// there is none.
	Since time.Time
}

// Verify reads every record of every day in the chain, and holds it against its link.
// Of a day that retention has removed it verifies the link only. heads are links that
// were noted elsewhere before: without one, the owner of the database could recompute
// the whole chain.
func (a Chain) Verify(ctx context.Context, heads ...Link) (found Verified, err error) {
	err = database.InPool(ctx, a.Pool, a.Schema, func(q database.DB) error {
		rows, err := q.Query(ctx, `SELECT day, records, digest, link, removed_at IS NOT NULL FROM outcrier.audit_day ORDER BY day`)
		if err != nil {
			return err
		}
		found.Days, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Link])
		if err != nil {
			return err
		}
		// First, so that a record that is closed meanwhile is counted as open.
		if found.Open, err = unverified(ctx, q, `SELECT count(*), min(opened_at) FROM outcrier.stream WHERE recorded_at IS NULL`); err != nil {
			return err
		}
		first, end := noDay, noDay
		if n := len(found.Days); n > 0 {
			first, end = found.Days[0].Day, found.Days[n-1].Day.AddDate(0, 0, 1)
		}
		if found.Unchained, err = unverified(ctx, q, unchainedSQL, first, end); err != nil {
			return err
		}
		for _, day := range found.Days {
			if day.Removed {
				continue
			}
			var records int64
			var digest []byte
			if err := q.QueryRow(ctx, `SELECT records, digest FROM outcrier.audit_digest($1)`, day.Day).Scan(&records, &digest); err != nil {
				return err
			}
			found.Records += records
			name := day.Day.Format(time.DateOnly)
			switch {
			case records != day.Records:
				found.fault("%s: %d records are there, %d were", name, records, day.Records)
			case !bytes.Equal(digest, day.Digest):
				found.fault("%s: some of its %d records were altered", name, records)
			}
		}
		return nil
	})
	if err != nil {
		return found, fmt.Errorf("verify the audit: %w", database.Migrated(err))
	}
	found.chain()
	for _, head := range heads {
		found.holds(head)
	}
	return found, nil
}

// unchainedSQL counts the records before the first day of the chain and after the last.
// Links are not counted: each is held by the next one.
const unchainedSQL = `
SELECT count(*), min(a.recorded_at) FROM outcrier.audit AS a
WHERE a.kind <> 'day' AND (a.recorded_at < $1::timestamptz OR a.recorded_at >= $2::timestamptz)`

// noDay is later than any record: where there is no chain, all are before its first day.
var noDay = time.Date(9999, time.January, 1, 0, 0, 0, 0, time.UTC)

// unverified reads a number of records, and the time of the oldest.
func unverified(ctx context.Context, q database.DB, query string, args ...any) (u Unverified, err error) {
	var since *time.Time
	if err := q.QueryRow(ctx, query, args...).Scan(&u.Records, &since); err != nil {
		return u, err
	}
	if since != nil {
		u.Since = *since
	}
	return u, nil
}

func (v *Verified) fault(format string, values ...any) {
	v.Faults = append(v.Faults, fmt.Sprintf(format, values...))
}

// chain verifies that each link follows the one before.
func (v *Verified) chain() {
	var before Link
	for i, day := range v.Days {
		name := day.Day.Format(time.DateOnly)
		if i > 0 && !day.Day.Equal(before.Day.AddDate(0, 0, 1)) {
			v.fault("%s: the link of the day before is gone", name)
		}
		if !bytes.Equal(day.Link, day.next(before.Link)) {
			v.fault("%s: the link does not follow that of the day before", name)
		}
		before = day
	}
}

// holds verifies that the chain has a link that was noted before.
func (v *Verified) holds(head Link) {
	for _, day := range v.Days {
		if day.Day.Equal(head.Day) {
			if !bytes.Equal(day.Link, head.Link) {
				v.fault("%s: the link is not the one that was noted: the chain was recomputed", day.Day.Format(time.DateOnly))
			}
			return
		}
	}
	v.fault("%s: there is no link of this day, and one was noted", head.Day.Format(time.DateOnly))
}
