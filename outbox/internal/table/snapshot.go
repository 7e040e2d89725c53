package table

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/position"
)

const (
	// RangesSQL are the ranges of xids above $1 between those in progress.
	RangesSQL = `
WITH ranges AS MATERIALIZED (
	SELECT low, lead(low, 1, pg_snapshot_xmax(pg_current_snapshot())) OVER (ORDER BY low) AS high
	FROM (SELECT $1::xid8 AS low UNION ALL SELECT x FROM pg_snapshot_xip(pg_current_snapshot()) AS x WHERE x > $1) AS lows
)`
	// NewestSQL is the newest event of the ranges.
	NewestSQL = `
	SELECT o.xid, o.id, o.created_at FROM ranges CROSS JOIN LATERAL (
		SELECT xid, id, created_at FROM outcrier.event WHERE xid > low AND xid < high ORDER BY xid DESC, id DESC LIMIT 1
	) AS o ORDER BY o.xid DESC LIMIT 1`

	// SnapshotColumns are the last two of a SnapshotRow.
	SnapshotColumns = `pg_current_snapshot()::text AS snapshot, coalesce((SELECT max(removal) FROM outcrier.removal), 0) AS removal`
)

// hereSQL is about the newest event of all: $1 is 0.
const hereSQL = RangesSQL + `
SELECT coalesce(n.xid, '0'), coalesce(n.id, 0), coalesce(n.created_at, 'epoch'), ` + SnapshotColumns + `
FROM (SELECT 1) AS one LEFT JOIN (` + NewestSQL + `
) AS n ON true`

// Here returns the position of a fresh snapshot, of which nothing is delivered. It always
// includes settled rows: if they come later, they are history and not new events.
func Here(ctx context.Context, q database.DB, history uint32) (position.Position, error) {
	var r SnapshotRow
	if err := q.QueryRow(ctx, hereSQL, uint64(0)).Scan(&r.XID, &r.ID, &r.CreatedAt, &r.Snapshot, &r.Removal); err != nil {
		return position.Position{}, err
	}
	at, _, err := Advance(position.Position{History: history, Anchor: position.Anchor{XID: position.SettledXID}}, r)
	return at, err
}

// SnapshotRow is the row about the snapshot; its first three fields are zero when nothing
// is newer than the set read from, and Removal when nothing was removed.
type SnapshotRow struct {
	XID       uint64
	ID        int64
	CreatedAt time.Time
	Snapshot  string
	Removal   int64
}

// Advance returns the position of r's snapshot, from the position before it.
func Advance(from position.Position, r SnapshotRow) (to position.Position, s Snapshot, err error) {
	s, err = ParseSnapshot(r.Snapshot)
	if err != nil {
		return from, s, err
	}
	return AdvanceTo(from, r, s), s, nil
}

// AdvanceTo is Advance for a caller that has parsed r's snapshot.
func AdvanceTo(from position.Position, r SnapshotRow, s Snapshot) (to position.Position) {
	to = from
	if r.XID != 0 {
		to.Anchor = position.NewAnchor(r.XID, r.ID, r.CreatedAt)
		to.EventID = max(to.EventID, r.ID)
	}
	if r.Removal != 0 {
		to.Removal = r.Removal
	}
	to.Given = position.NewSet(to.Anchor.XID, s.InProgress)
	return to
}

// Snapshot is a pg_snapshot: all transactions below Min are over, none from Max on was, and
// InProgress lists those in between that were not, ascending.
type Snapshot struct {
	Min, Max   uint64
	InProgress []uint64
}

// ParseSnapshot reads a pg_snapshot, "xmin:xmax:xip,xip…".
func ParseSnapshot(text string) (s Snapshot, err error) {
	parts := strings.SplitN(text, ":", 3)
	if len(parts) != 3 {
		return s, fmt.Errorf("snapshot %q has not three parts", text)
	}
	number := func(text string) (xid uint64) {
		if err == nil {
			if xid, err = strconv.ParseUint(text, 10, 64); err != nil {
				err = fmt.Errorf("snapshot %q: %w", text, err)
			}
		}
		return xid
	}
	s.Min, s.Max = number(parts[0]), number(parts[1])
	if parts[2] != "" {
		for xid := range strings.SplitSeq(parts[2], ",") {
			s.InProgress = append(s.InProgress, number(xid))
		}
	}
	slices.Sort(s.InProgress)
	return s, err
}
