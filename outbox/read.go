package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox/internal/database"
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
	Events []Event
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
// that are in progress, or newer than the snapshot. newLeg only knows the end of the
// snapshot; aroundLeg uses the ranges between the transactions in progress, which costs
// more the more of them there are.
const (
	newLeg  = `SELECT ` + eventColumns + `, ` + noSnapshot + ` FROM outcrier.event WHERE xid > $1 AND xid < (SELECT pg_snapshot_xmax(pg_current_snapshot()))`
	lateLeg = `SELECT ` + eventColumns + `, ` + noSnapshot + ` FROM outcrier.event WHERE xid = ANY(` + ended + `) AND xid <= $1`

	aroundLeg = `SELECT ` + eventColumns + `, ` + noSnapshot + ` FROM ranges CROSS JOIN LATERAL (
	SELECT ` + eventColumns + ` FROM outcrier.event WHERE xid > low AND xid < high OFFSET 0
) AS o`

	ended = `ARRAY(
	SELECT x FROM (SELECT pg_current_snapshot() AS now OFFSET 0) AS s, unnest($2::xid8[]) AS x WHERE pg_visible_in_snapshot(x, now)
)`

	// rangesSQL are the ranges of xids above $1 between those in progress.
	rangesSQL = `
WITH ranges AS MATERIALIZED (
	SELECT low, lead(low, 1, pg_snapshot_xmax(pg_current_snapshot())) OVER (ORDER BY low) AS high
	FROM (SELECT $1::xid8 AS low UNION ALL SELECT x FROM pg_snapshot_xip(pg_current_snapshot()) AS x WHERE x > $1) AS lows
)`
	// newestSQL is the newest event of the ranges.
	newestSQL = `
	SELECT o.xid, o.id, o.created_at FROM ranges CROSS JOIN LATERAL (
		SELECT xid, id, created_at FROM outcrier.event WHERE xid > low AND xid < high ORDER BY xid DESC, id DESC LIMIT 1
	) AS o ORDER BY o.xid DESC LIMIT 1`

	// noSnapshot are an event's columns where the row about the snapshot has the snapshot.
	noSnapshot = `0::bigint, '', 0::bigint, NULL::bigint, NULL::bigint`

	aboutColumns = `pg_current_snapshot()::text AS snapshot, coalesce((SELECT max(removal) FROM outcrier.removal), 0) AS removal`
)

// longSQL returns the row about the snapshot, and then any number of events by id.
const longSQL = rangesSQL + `, newest AS MATERIALIZED (` + newestSQL + `
)
SELECT coalesce(n.xid, '0') AS xid, '-9223372036854775808'::bigint AS id, '' AS topic, '' AS type, NULL::json AS payload, '' AS source, NULL::jsonb AS headers,
	coalesce(n.created_at, 'epoch') AS created_at, coalesce(n.id, 0) AS newest, ` + aboutColumns + `, NULL::bigint, NULL::bigint
FROM (SELECT 1) AS one LEFT JOIN newest AS n ON true
UNION ALL ` + aroundLeg + ` UNION ALL ` + lateLeg + `
ORDER BY id, xid`

// shortSQL is a query that returns only a few events, unsorted; the tail sorts them and finds the newest.
// Each scan of the table visits every partition, and for a few events that takes most of
// the time of a read. For the same reason only the variants with late, for a set with
// exceptions, have the second branch, and only those with around have the ranges. With
// draws it draws a request for a wake-up too.
type shortSQL struct{ late, around, draws bool }

func (q shortSQL) build() string {
	with, legs, columns := ``, newLeg, nextColumns
	if q.around {
		with, legs = rangesSQL, aroundLeg
	}
	if q.late {
		legs += ` UNION ALL ` + lateLeg
	}
	if q.draws {
		columns = drawnColumns
	}
	return with + shortHead + columns + ` UNION ALL ` + legs + shortLimit
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
	'epoch'::timestamptz AS created_at, 0::bigint AS newest, ` + aboutColumns + `, `
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

// hereSQL is longSQL's first row alone, for the empty set ($1 is 0): where a tail
// starts.
const hereSQL = rangesSQL + `
SELECT coalesce(n.xid, '0'), coalesce(n.id, 0), coalesce(n.created_at, 'epoch'), ` + aboutColumns + `
FROM (SELECT 1) AS one LEFT JOIN (` + newestSQL + `
) AS n ON true`

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
func (r *Read) take(e Event) error {
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
func read(ctx context.Context, q database.DB, from position.Position, few, around bool, r *request, deliver func(Read) error) (to position.Position, s snapshot, err error) {
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
func readMany(ctx context.Context, q database.DB, from position.Position, deliver func(Read) error) (to position.Position, s snapshot, err error) {
	rows, err := q.Query(ctx, longSQL, inBinary, from.Given.Max, from.Given.Except)
	if err != nil {
		return from, s, err
	}
	defer rows.Close()
	to = from
	part := Read{From: from, First: true}
	var d decoder
	size := 0
	for rows.Next() {
		event, about, err := d.read(rows)
		if err != nil {
			return from, s, err
		}
		if about != nil {
			if to, s, err = advance(from, *about); err != nil {
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
		size += event.size()
	}
	if err := rows.Err(); err != nil {
		return from, s, err
	}
	part.end(to)
	return part.To, s, deliver(part)
}

// readFew returns a whole read of at most shortEvents; or, if there are more, a part
// without Last, to be discarded.
func readFew(ctx context.Context, q database.DB, from position.Position, around bool, r *request) (part Read, s snapshot, err error) {
	query := shortSQL{late: len(from.Given.Except) > 0, around: around, draws: r != nil && r.number == 0}
	args := []any{inBinary, from.Given.Max}
	if query.late {
		args = append(args, from.Given.Except)
	}
	rows, err := q.Query(ctx, shortSQLs[query], args...)
	if err != nil {
		return part, s, err
	}
	defer rows.Close()
	part = Read{From: from, First: true}
	var about snapshotRow
	var d decoder
	var all []Event
	size := 0
	for rows.Next() {
		event, row, err := d.read(rows)
		if err != nil {
			return part, s, err
		}
		if row != nil {
			about = *row
			continue
		}
		all = append(all, event)
		size += event.size()
	}
	if err := rows.Err(); err != nil {
		return part, s, err
	}
	if s, err = parseSnapshot(about.snapshot); err != nil {
		return part, s, err
	}
	if r != nil {
		r.seen(about, s)
	}
	if len(all) > shortEvents || size > partBytes {
		return part, s, nil
	}
	slices.SortFunc(all, func(a, b Event) int { return cmp.Compare(a.ID, b.ID) })
	for _, e := range all {
		if e.XID > from.Given.Max && e.XID >= about.xid {
			about.xid, about.id, about.createdAt = e.XID, e.ID, e.CreatedAt
		}
		if err := part.take(e); err != nil {
			return part, s, err
		}
	}
	part.end(advanced(from, about, s))
	return part, s, nil
}

// end makes r the last part of a read that ends at to.
func (r *Read) end(to position.Position) {
	if len(r.Events) > 0 {
		to.EventID = max(to.EventID, r.Events[len(r.Events)-1].ID)
	}
	r.To, r.Last = to, true
}

// read decodes a row of a read: an event, or the one about the snapshot.
func (d *decoder) read(rows pgx.Rows) (event Event, about *snapshotRow, err error) {
	event, err = d.decode(rows)
	text := d.row[columnsMore+1]
	if err != nil || len(text) == 0 {
		return event, nil, err
	}
	return Event{}, &snapshotRow{
		xid: event.XID, id: d.int64(columnsMore), createdAt: event.CreatedAt, snapshot: string(text), removal: d.int64(columnsMore + 2),
		drawn: d.int64(columnsMore + 3), age: d.int64(columnsMore + 4), aged: d.row[columnsMore+4] != nil,
	}, nil
}

// here returns the position of a fresh snapshot, of which nothing is delivered. It always
// includes settled rows: if they come later, they are history and not new events.
func here(ctx context.Context, q database.DB, history uint32) (position.Position, error) {
	var r snapshotRow
	if err := q.QueryRow(ctx, hereSQL, uint64(0)).Scan(&r.xid, &r.id, &r.createdAt, &r.snapshot, &r.removal); err != nil {
		return position.Position{}, err
	}
	position, _, err := advance(position.Position{History: history, Anchor: position.Anchor{XID: position.SettledXID}}, r)
	return position, err
}

// snapshotRow is the row about the snapshot; its first three fields are zero when nothing
// is newer than the set read from, and removal when nothing was removed.
type snapshotRow struct {
	xid       uint64
	id        int64
	createdAt time.Time
	snapshot  string
	removal   int64
	// drawn is the number of the request that the read has drawn, or 0. age is how many xids
	// after 3 the next one is, modulo 2³², if the read could tell: aged.
	drawn, age int64
	aged       bool
}

// advance returns the position of r's snapshot, from the position before it.
func advance(from position.Position, r snapshotRow) (to position.Position, s snapshot, err error) {
	s, err = parseSnapshot(r.snapshot)
	if err != nil {
		return from, s, err
	}
	return advanced(from, r, s), s, nil
}

func advanced(from position.Position, r snapshotRow, s snapshot) (to position.Position) {
	to = from
	if r.xid != 0 {
		to.Anchor = position.NewAnchor(r.xid, r.id, r.createdAt)
		to.EventID = max(to.EventID, r.id)
	}
	if r.removal != 0 {
		to.Removal = r.removal
	}
	to.Given = position.NewSet(to.Anchor.XID, s.inProgress)
	return to
}

// snapshot is a pg_snapshot: all transactions below min are over, none from max on was, and
// inProgress lists those in between that were not, ascending.
type snapshot struct {
	min, max   uint64
	inProgress []uint64
}

// parseSnapshot reads a pg_snapshot, "xmin:xmax:xip,xip…".
func parseSnapshot(text string) (s snapshot, err error) {
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
	s.min, s.max = number(parts[0]), number(parts[1])
	if parts[2] != "" {
		for xid := range strings.SplitSeq(parts[2], ",") {
			s.inProgress = append(s.inProgress, number(xid))
		}
	}
	slices.Sort(s.inProgress)
	return s, err
}
