package replay

import (
	"context"
	"math"
	"sort"
	"time"

	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/table"
	"github.com/outcrier/outcrier/outbox/position"
)

// Times finds where the events of a time begin. It is a Reader's, and may be used by any
// number of streams at once.
//
// The first id of the time is not enough: a transaction may have been open for long when it
// appended, so that its xid is far below its neighbours'. So the position has the transactions
// below the smallest xid of all events from then on. Times keeps the smallest xids by chunks of
// ids, so that the next search reads only newer events. An event that was not visible when a
// chunk was read has an xid not below the snapshot's xmin: each chunk also has the smallest of
// those, and so stays valid when such events commit later.
//
// Where more than a few events would have to be read for that, it reads none: the position is
// then one in the middle of a read, which divides the events of a set by their ids; see far.
type Times struct {
	// turn has a token: one reads at a time.
	turn chan struct{}
	// most is how many ids are read for one search.
	most int64

	history uint32
	// chunks are those that have events, ascending, of all ids from first on and below next.
	chunks      []chunk
	first, next int64
	// some is set once events were read: chunks without any are not worth keeping.
	some bool
}

// chunk has the smallest xids of chunkEvents ids, and of the ids after them that no other
// chunk has: events from next on have none below the last one's unseen.
type chunk struct {
	number      int64
	xid, unseen uint64
}

const (
	chunkEvents = 4096
	// So many events are read by one statement.
	chunkRead = 250_000
	// nearIDs is most by default: to read them takes some 30 ms, and a replay buffer of the
	// default size holds about as many.
	nearIDs = 50_000
)

// NewTimes returns one that knows nothing yet.
func NewTimes() *Times {
	return &Times{turn: make(chan struct{}, 1), most: nearIDs}
}

// enter waits for the turn. It comes before a connection is taken: those who wait for their
// turn would otherwise hold the pool's, for which appends wait.
func (m *Times) enter(ctx context.Context) (leave func(), err error) {
	select {
	case m.turn <- struct{}{}:
		return func() { <-m.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// before returns a position before all events that were appended at t or later, at a tail
// whose position is w. The caller has the turn.
func (m *Times) before(ctx context.Context, q database.DB, history uint32, t time.Time, w position.Position) (position.Position, error) {
	// A minute to spare: ids and times rise together, give or take that.
	const fromSQL = `SELECT outcrier.id_at($1::timestamptz - interval '1 minute'), coalesce((SELECT max(id) FROM outcrier.event), 0)`
	var from, newest int64
	if err := q.QueryRow(ctx, fromSQL, t).Scan(&from, &newest); err != nil {
		return position.Position{}, err
	}
	if !m.near(history, from, newest) {
		return far(ctx, q, history, from, t, w)
	}
	xid, err := m.lowest(ctx, q, from, t)
	if err != nil {
		return position.Position{}, err
	}
	return below(ctx, q, history, xid)
}

// near reports whether the chunks from an id on are known, or are few to read. It forgets the
// chunks that they can't be added to.
func (m *Times) near(history uint32, from, newest int64) bool {
	begin := from / chunkEvents * chunkEvents
	unread := max(0, newest-begin)
	if m.history == history && m.some {
		known := max(0, newest-m.next)
		switch n := len(m.chunks); {
		case begin < m.first:
			known = m.first - begin
		case begin/chunkEvents < m.chunks[n-1].number:
			known = 0
		}
		if known <= m.most {
			return true
		}
	}
	if unread > m.most {
		return false
	}
	*m = Times{turn: m.turn, most: m.most, history: history, first: begin, next: begin}
	return true
}

// far returns what Times.before does, for any number of events, by two sets: of the
// transactions of w, which are over, the reader has the events below the id from; and of
// those older than all events of the partition of t and later ones, all. The second
// makes no difference to the events that are held. It is for those that retention has removed: to
// a reader without them, their removal would be a gap.
func far(ctx context.Context, q database.DB, history uint32, from int64, t time.Time, w position.Position) (position.Position, error) {
	if w.History == 0 {
		var err error
		if w, err = table.Here(ctx, q, history); err != nil {
			return position.Position{}, err
		}
	}
	var s table.SnapshotRow
	if err := q.QueryRow(ctx, olderSQL, t).Scan(&s.XID, &s.ID, &s.CreatedAt, &s.Snapshot, &s.Removal); err != nil {
		return position.Position{}, err
	}
	p, _, err := table.Advance(position.Position{History: history}, s)
	if err != nil {
		return position.Position{}, err
	}
	if p.Given.Max > w.Given.Max { // of transactions that the tail has yet to read
		p.Given = position.Set{}
	}
	p.EventID, p.Within, p.Anchor = from-1, &w.Given, w.Anchor
	return p, nil
}

// olderSQL finds the event with the largest xid below those of all events in the partition of
// $1 and in later ones, if $1 is in a partition.
const olderSQL = `
SELECT coalesce(a.xid, '0'), coalesce(a.id, 0), coalesce(a.created_at, 'epoch'), ` + table.SnapshotColumns + `
FROM (SELECT (
	SELECT e.xid FROM outcrier.event AS e
	WHERE e.created_at >= (SELECT p.begins FROM outcrier.partitions() AS p WHERE p.begins <= $1::timestamptz AND $1::timestamptz < p.ends)
	ORDER BY e.xid LIMIT 1
) AS xid) AS least
LEFT JOIN LATERAL (
	SELECT e.xid, e.id, e.created_at FROM outcrier.event AS e WHERE e.xid < least.xid ORDER BY xid DESC, id DESC LIMIT 1
) AS a ON true`

// lowest returns an xid that no event has which was appended at t or later and is not in
// progress: they have that one or larger ones, today and later. It is not above the xid of
// any transaction that is in progress now. Their ids begin with from, which is near.
func (m *Times) lowest(ctx context.Context, q database.DB, from int64, t time.Time) (xid uint64, err error) {
	// Rows that were loaded by hand are of no transaction, and come at any time.
	const settledSQL = `SELECT EXISTS (SELECT FROM outcrier.event WHERE xid = '3' AND id >= $1)`
	var settled bool
	if err := q.QueryRow(ctx, settledSQL, from).Scan(&settled); err != nil || settled {
		return position.SettledXID, err
	}
	if err := m.read(ctx, q, from); err != nil {
		return 0, err
	}
	return m.smallest(ctx, q, from, t)
}

// read reads the chunks from an id on that are not known yet.
func (m *Times) read(ctx context.Context, q database.DB, from int64) error {
	number := from / chunkEvents
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
func (m *Times) extend(ctx context.Context, q database.DB, end int64) error {
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
		m.next, m.some = newest+1, m.some || read > 0
		if read < chunkRead {
			return nil
		}
	}
}

// smallest returns the smallest xid of the events from t on, whose ids begin with from.
func (m *Times) smallest(ctx context.Context, q database.DB, from int64, t time.Time) (xid uint64, err error) {
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
