package tail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/table"
	"github.com/outcrier/outcrier/outbox/position"
)

// Read is one read of the tail, or a part of a long one: the events that one
// snapshot sees and the one before it did not, by id. Each event is in exactly
// one read of a tail.
type Read struct {
	// From and To are the positions before and after the whole read.
	From, To position.Position
	// Events are this part's, ordered by id. There is at least one, except in a last part
	// that only ends the read, and where Forget or Revoked is set.
	Events []outbox.Event
	// Forget is set where events were erased or changed that may already have been
	// delivered: from here on, no event that is held in memory may be sent.
	Forget bool
	// Revoked is set where tokens were revoked since the last read.
	Revoked bool
	// First and Last mark the parts; both are set when there is but one.
	First, Last bool
	// Asked is when the tail asked for the read.
	Asked time.Time
}

// At returns the position of the i-th event of the part: that of a reader that has received
// the events up to this one.
func (r *Read) At(i int) position.Position {
	if r.Last && i == len(r.Events)-1 {
		p := r.To
		p.EventID = r.Events[i].ID
		return p
	}
	return position.Position{
		History: r.To.History, EventID: r.Events[i].ID, Given: r.From.Given, Within: &r.To.Given,
		Anchor: r.To.Anchor, Removal: r.To.Removal,
	}
}

// A read is the difference of two snapshots in one statement, and so in one snapshot: a row
// about the snapshot itself, and the events that it sees and the set ($1, $2) does not
// hold. It has two branches, because one condition over both can't use the index. It has no
// lower bound on the id, because a transaction can be absent from a snapshot's list of
// transactions in progress (its xmax is only the latest completed + 1) and have smaller ids
// than any that was seen.
//
// The rows of an open transaction are not visible, but an index scan visits each of them: a
// million take a second, in every read. So neither branch scans the rows of transactions
// that are in progress, or newer than the snapshot. newBranch only knows the end of the
// snapshot; aroundBranch uses the ranges between the transactions in progress, which costs
// more the more of them there are.
const (
	newBranch  = `SELECT ` + table.Columns + `, ` + noSnapshot + ` FROM outcrier.event WHERE xid > $1 AND xid < (SELECT pg_snapshot_xmax(pg_current_snapshot()))`
	lateBranch = `SELECT ` + table.Columns + `, ` + noSnapshot + ` FROM outcrier.event WHERE xid = ANY(` + ended + `) AND xid <= $1`

	aroundBranch = `SELECT ` + table.Columns + `, ` + noSnapshot + ` FROM ranges CROSS JOIN LATERAL (
	SELECT ` + table.Columns + ` FROM outcrier.event WHERE xid > low AND xid < high OFFSET 0
) AS o`

	ended = `ARRAY(
	SELECT x FROM (SELECT pg_current_snapshot() AS now OFFSET 0) AS s, unnest($2::xid8[]) AS x WHERE pg_visible_in_snapshot(x, now)
)`

	// noSnapshot are an event's columns where the row about the snapshot has the snapshot.
	noSnapshot = `0::bigint, '', 0::bigint, NULL::bigint, NULL::bigint`
)

// longSQL returns the row about the snapshot, and then any number of events by id.
const longSQL = table.RangesSQL + `, newest AS MATERIALIZED (` + table.NewestSQL + `
)
SELECT coalesce(n.xid, '0') AS xid, '-9223372036854775808'::bigint AS id, '' AS topic, '' AS type, NULL::json AS payload, '' AS source, NULL::jsonb AS headers,
	coalesce(n.created_at, 'epoch') AS created_at, coalesce(n.id, 0) AS newest, ` + table.SnapshotColumns + `, NULL::bigint, NULL::bigint
FROM (SELECT 1) AS one LEFT JOIN newest AS n ON true
UNION ALL ` + aroundBranch + ` UNION ALL ` + lateBranch + `
ORDER BY id, xid`

// shortSQL is a query that returns only a few events, unsorted; the tail sorts them and finds the newest.
// Each scan of the table visits every partition, and for a few events that takes most of
// the time of a read. For the same reason only the variants with late, for a set with
// exceptions, have the second branch, and only those with around have the ranges. With
// draws it draws a request for a wake-up too.
type shortSQL struct{ late, around, draws bool }

func (q shortSQL) build() string {
	with, branches, columns := ``, newBranch, nextColumns
	if q.around {
		with, branches = table.RangesSQL, aroundBranch
	}
	if q.late {
		branches += ` UNION ALL ` + lateBranch
	}
	if q.draws {
		columns = drawnColumns
	}
	return with + shortHead + columns + ` UNION ALL ` + branches + shortLimit
}

var shortSQLs = func() map[shortSQL]string {
	built := map[shortSQL]string{}
	for i := range 8 {
		q := shortSQL{late: i&1 != 0, around: i&2 != 0, draws: i&4 != 0}
		built[q] = q.build()
	}
	return built
}()

const (
	shortHead = `
SELECT '0'::xid8 AS xid, 0::bigint AS id, '' AS topic, '' AS type, NULL::json AS payload, '' AS source, NULL::jsonb AS headers,
	'epoch'::timestamptz AS created_at, 0::bigint AS newest, ` + table.SnapshotColumns + `, `
	shortLimit  = ` LIMIT 34` // the row about the snapshot, shortEvents, and one more
	shortEvents = 32

	// drawnColumns draw a request for a wake-up, and then read the next xid, see request.
	// age tells it without taking one (xid_age in Postgres's xid.c), except in a transaction
	// that has one itself, and one in 32 times nextval takes one. That the transaction is
	// on disk is not worth the wait.
	drawnColumns = `r.drawn, CASE WHEN r.drawn > 0 AND pg_current_xact_id_if_assigned() IS NULL THEN age('3'::xid)::bigint END
FROM (SELECT nextval('outcrier.wake_request') AS drawn, set_config('synchronous_commit', 'off', true) OFFSET 0) AS r`
	nextColumns = `NULL::bigint, CASE WHEN pg_current_xact_id_if_assigned() IS NULL THEN age('3'::xid)::bigint END`
)

// A part of a read holds at most this many events, and about this many bytes.
const (
	partEvents = 512
	partBytes  = 1 << 20
)

// errMany marks errors that keep a read of many events from completing.
var errMany = errors.New("many events")

// errReset ends a read that finds the outbox reset.
var errReset = errors.New("the outbox was reset")

// Rows on no topic are not events, and no stream receives them. They inform nodes of
// changes to events, or are the remains of an erased one.
const (
	typeErased  = "outcrier.erased"
	typeReset   = "outcrier.reset"
	typeRevoked = "outcrier.revocation"
)

// take adds an event to a part.
func (r *Read) take(e outbox.Event) error {
	switch {
	case e.Topic != "":
		r.Events = append(r.Events, e)
	case e.Type == typeReset:
		return errReset
	case e.Type == typeRevoked:
		r.Revoked = true
	default:
		r.Forget = true
	}
	return nil
}

// read reads the events that are new since from and passes them to deliver, part by part.
// It returns the position after them and its snapshot. An error after the first part, which
// may be one of deliver's, leaves a read unfinished. With few, read expects
// a few events and first tries a query for these alone, which draws the request as well, if
// that is not nil and not drawn; with around, it goes around the rows of open transactions,
// of which there may be many.
func read(ctx context.Context, q database.DB, from position.Position, few, around bool, r *request, deliver func(Read) error) (to position.Position, s table.Snapshot, err error) {
	if few {
		part, s, err := readFew(ctx, q, from, around, r)
		if err != nil {
			return from, s, err
		}
		if part.Last {
			return part.To, s, deliver(part)
		}
	}
	to, s, err = readMany(ctx, q, from, deliver)
	if err != nil && !errors.Is(err, errReset) && !errors.Is(err, errErased) {
		err = fmt.Errorf("%w: %w", errMany, err)
	}
	return to, s, err
}

// readMany is a read of any number of events.
func readMany(ctx context.Context, q database.DB, from position.Position, deliver func(Read) error) (to position.Position, s table.Snapshot, err error) {
	rows, err := q.Query(ctx, longSQL, table.Binary, from.Given.Max, from.Given.Except)
	if err != nil {
		return from, s, err
	}
	defer rows.Close()
	to = from
	part := Read{From: from, First: true}
	var d table.Decoder
	size := 0
	for rows.Next() {
		event, about, err := readRow(&d, rows)
		if err != nil {
			return from, s, err
		}
		if about != nil {
			if to, s, err = table.Advance(from, about.SnapshotRow); err != nil {
				return from, s, err
			}
			part.To = to
			continue
		}
		// Events of one id, of which there are some where the sequence was set back, are
		// in one part: a position between them could not tell them apart.
		n := len(part.Events)
		if (n >= partEvents || size > partBytes) && event.ID != part.Events[n-1].ID {
			if err := deliver(part); err != nil {
				return from, s, err
			}
			part, size = Read{From: from, To: to}, 0
		}
		if err := part.take(event); err != nil {
			return from, s, err
		}
		size += table.Size(&event)
	}
	if err := rows.Err(); err != nil {
		return from, s, err
	}
	part.end(to)
	return part.To, s, deliver(part)
}

// readFew returns a whole read of at most shortEvents; or, if there are more, a part
// without Last, to be discarded.
func readFew(ctx context.Context, q database.DB, from position.Position, around bool, r *request) (part Read, s table.Snapshot, err error) {
	query := shortSQL{late: len(from.Given.Except) > 0, around: around, draws: r != nil && r.number == 0}
	args := []any{table.Binary, from.Given.Max}
	if query.late {
		args = append(args, from.Given.Except)
	}
	rows, err := q.Query(ctx, shortSQLs[query], args...)
	if err != nil {
		return part, s, err
	}
	defer rows.Close()
	part = Read{From: from, First: true}
	var about aboutRow
	var d table.Decoder
	var all []outbox.Event
	size := 0
	for rows.Next() {
		event, row, err := readRow(&d, rows)
		if err != nil {
			return part, s, err
		}
		if row != nil {
			about = *row
			continue
		}
		all = append(all, event)
		size += table.Size(&event)
	}
	if err := rows.Err(); err != nil {
		return part, s, err
	}
	if s, err = table.ParseSnapshot(about.Snapshot); err != nil {
		return part, s, err
	}
	if r != nil {
		r.seen(about, s)
	}
	if len(all) > shortEvents || size > partBytes {
		return part, s, nil
	}
	slices.SortFunc(all, func(a, b outbox.Event) int { return cmp.Compare(a.ID, b.ID) })
	for _, e := range all {
		if e.XID > from.Given.Max && e.XID >= about.XID {
			about.XID, about.ID, about.CreatedAt = e.XID, e.ID, e.CreatedAt
		}
		if err := part.take(e); err != nil {
			return part, s, err
		}
	}
	part.end(table.AdvanceTo(from, about.SnapshotRow, s))
	return part, s, nil
}

// end makes r the last part of a read that ends at to.
func (r *Read) end(to position.Position) {
	if len(r.Events) > 0 {
		to.EventID = max(to.EventID, r.Events[len(r.Events)-1].ID)
	}
	r.To, r.Last = to, true
}

// readRow decodes a row of a read: an event, or the one about the snapshot.
func readRow(d *table.Decoder, rows pgx.Rows) (event outbox.Event, about *aboutRow, err error) {
	event, err = d.Decode(rows)
	text := d.Row[table.More+1]
	if err != nil || len(text) == 0 {
		return event, nil, err
	}
	return outbox.Event{}, &aboutRow{
		SnapshotRow: table.SnapshotRow{XID: event.XID, ID: d.Int64(table.More), CreatedAt: event.CreatedAt, Snapshot: string(text), Removal: d.Int64(table.More + 2)},
		drawn:       d.Int64(table.More + 3), age: d.Int64(table.More + 4), aged: d.Row[table.More+4] != nil,
	}, nil
}

// aboutRow is the row of a read about its snapshot.
type aboutRow struct {
	table.SnapshotRow
	// drawn is the number of the request that the read has drawn, or 0. age is how many xids
	// after 3 the next one is, modulo 2³², if the read could tell: aged.
	drawn, age int64
	aged       bool
}
