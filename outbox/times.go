package outbox

import (
	"context"
	"math"
	"sort"
	"time"
)

// Times finds where the events of a time begin, and remembers the result: the next search
// reads only newer events, and not all events since the time again. It is a Reader's, and
// may be used by any number of streams at once.
//
// Where they begin is not the first id of the time alone: a transaction may have been open
// for long when it appended, so that its xid is far below its neighbours'. A position has
// to stand below the smallest xid of all events from then on. Times keeps that by chunks of
// ids. An event that was not visible when a chunk was read has an xid not below the
// snapshot's xmin: each chunk also has the smallest of those, and so stays valid when such
// events commit later.
type Times struct {
	// turn has a token: one reads at a time.
	turn chan struct{}

	history uint32
	// chunks are those that have events, ascending, of all ids from first on and below next.
	chunks      []chunk
	first, next int64
	// unseen is the smallest xid that an event from next on can have.
	unseen uint64
	// some is set when there were events at all: without, nothing is worth to be kept.
	some bool
}

// chunk has the smallest xids of chunkEvents ids, and of the ids after them that no other
// chunk has.
type chunk struct {
	number      int64
	xid, unseen uint64
}

const (
	chunkEvents = 4096
	// So many events are read by one statement.
	chunkRead = 250_000
)

// NewTimes returns one that knows nothing yet.
func NewTimes() *Times {
	return &Times{turn: make(chan struct{}, 1)}
}

// lowest returns an xid that no event has which was appended at t or later and is not in
// progress: they have that one or larger ones, today and later. It is not above the xid of
// any transaction that is in progress now.
func (m *Times) lowest(ctx context.Context, q db, history uint32, t time.Time) (xid uint64, err error) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	// A minute to spare: ids and times rise together, give or take that.
	const fromSQL = `SELECT outcrier.id_at($1::timestamptz - interval '1 minute')`
	var from int64
	if err := q.QueryRow(ctx, fromSQL, t).Scan(&from); err != nil {
		return 0, err
	}
	// Rows that were loaded by hand are of no transaction, and come at any time.
	const settledSQL = `SELECT EXISTS (SELECT FROM outcrier.event WHERE xid = '3' AND id >= $1)`
	var settled bool
	if err := q.QueryRow(ctx, settledSQL, from).Scan(&settled); err != nil || settled {
		return settledXID, err
	}
	if err := m.read(ctx, q, history, from); err != nil {
		return 0, err
	}
	return m.of(ctx, q, from, t)
}

// read has the chunks from an id on.
func (m *Times) read(ctx context.Context, q db, history uint32, from int64) error {
	number := from / chunkEvents
	if m.history != history || !m.some {
		*m = Times{turn: m.turn, history: history, first: number * chunkEvents, next: number * chunkEvents}
	}
	if begin := number * chunkEvents; begin < m.first {
		older := Times{first: begin, next: begin}
		if err := older.extend(ctx, q, m.first); err != nil {
			return err
		}
		m.chunks, m.first = append(older.chunks, m.chunks...), begin
	}
	if n := len(m.chunks); n == 0 || number >= m.chunks[n-1].number {
		return m.extend(ctx, q, math.MaxInt64)
	}
	return nil
}

// chunksSQL reads some events from $1 on and below $2.
const chunksSQL = `
SELECT id / $4, min(xid), max(id), count(*) FROM (
	SELECT id, xid FROM outcrier.event WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3
) AS e GROUP BY 1 ORDER BY 1`

// extend reads what there is from next on and below an id.
func (m *Times) extend(ctx context.Context, q db, end int64) error {
	for {
		// A snapshot that is older than the one of the chunks sees no more than they do.
		var unseen uint64
		if err := q.QueryRow(ctx, `SELECT pg_snapshot_xmin(pg_current_snapshot())`).Scan(&unseen); err != nil {
			return err
		}
		rows, err := q.Query(ctx, chunksSQL, m.next, end, int64(chunkRead), int64(chunkEvents))
		if err != nil {
			return err
		}
		if len(m.chunks) == 0 { // for the ids before the first event's
			m.chunks = append(m.chunks, chunk{m.next / chunkEvents, math.MaxUint64, unseen})
		}
		read, newest := int64(0), m.next-1
		for rows.Next() {
			var events int64
			c := chunk{unseen: unseen}
			if err := rows.Scan(&c.number, &c.xid, &newest, &events); err != nil {
				rows.Close()
				return err
			}
			read += events
			if n := len(m.chunks); n > 0 && m.chunks[n-1].number == c.number {
				last := &m.chunks[n-1]
				last.xid, last.unseen = min(last.xid, c.xid), min(last.unseen, c.unseen)
			} else {
				m.chunks = append(m.chunks, c)
			}
		}
		if rows.Close(); rows.Err() != nil {
			return rows.Err()
		}
		m.next, m.unseen, m.some = newest+1, unseen, m.some || read > 0
		if read < chunkRead {
			return nil
		}
	}
}

// of returns the smallest xid of the events from t on, whose ids begin with from.
func (m *Times) of(ctx context.Context, q db, from int64, t time.Time) (xid uint64, err error) {
	const partSQL = `
SELECT pg_snapshot_xmin(pg_current_snapshot()), (
	SELECT min(xid) FROM (SELECT xid FROM outcrier.event WHERE id >= $1 AND id < $2 AND created_at >= $3 OFFSET 0) AS e
)`
	number := from / chunkEvents
	var part *uint64
	if err := q.QueryRow(ctx, partSQL, from, chunkEnd(number), t).Scan(&xid, &part); err != nil {
		return 0, err
	}
	if part != nil {
		xid = min(xid, *part)
	}
	xid = min(xid, m.unseen)
	// from is in the last chunk that does not begin after it.
	i := sort.Search(len(m.chunks), func(i int) bool { return m.chunks[i].number > number })
	for _, c := range m.chunks[max(0, i-1):] {
		xid = min(xid, c.unseen)
		if c.number > number {
			xid = min(xid, c.xid)
		}
	}
	return xid, nil
}

// chunkEnd returns the first id after a chunk.
func chunkEnd(number int64) int64 {
	if number >= math.MaxInt64/chunkEvents {
		return math.MaxInt64
	}
	return (number + 1) * chunkEvents
}
