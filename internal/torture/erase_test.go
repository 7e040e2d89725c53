package torture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/tail"
)

// erasures are the events that were erased or redacted. A zero value has none.
type erasures struct {
	mu sync.Mutex
	// byID also has the events of transactions whose outcome is not known.
	byID map[int64]*erasure
	// read is the last round that every node has read.
	read atomic.Int64
	// redacted, erased and rounds count committed changes.
	redacted, erased, rounds int
}

// erasure is one event's.
type erasure struct {
	payload  payload
	redacted bool
	// round is 0 until the erasure has committed and every node has read it.
	round int64
	// gone is set at the end, for an event that has left a tombstone.
	gone bool
}

// of returns the erasure of an event, or nil. It may be nil itself.
func (e *erasures) of(id int64) *erasure {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.byID[id]
}

// gone reports whether a stream that began after a round may not bring this event with
// this payload. (A stream that was open then may have the event in a buffer of the
// kernel's.)
func (e *erasures) gone(id int64, p payload, round int64) bool {
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	one := e.byID[id]
	return one != nil && one.round > 0 && one.round <= round && (!one.redacted || !p.Redacted)
}

// least is how many events were erased, or redacted if those are fewer.
func (e *erasures) least() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return min(e.erased, e.redacted)
}

// known returns the last round that every node has read.
func (e *erasures) known() int64 {
	if e == nil {
		return 0
	}
	return e.read.Load()
}

// erase erases or redacts some events in one transaction, which is rolled back now and
// then, and waits until every node has read it. Only the newest events are in the
// memory of a node, so most of the victims are. An error is that of a server or a
// session that was killed.
func (b *business) erase(ctx context.Context, r *rand.Rand, nodes []*node) error {
	conn, err := pgx.Connect(ctx, b.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	var victims []int64
	all := map[int64]*erasure{}
	for range 1 + r.IntN(3) {
		id, one, err := victim(ctx, tx, r)
		if err != nil {
			return err
		}
		if id == 0 || all[id] != nil || b.erasures.of(id) != nil {
			continue
		}
		one.redacted = r.IntN(2) == 0
		all[id] = &one
		victims = append(victims, id)
		if err := one.execute(ctx, tx, id); err != nil {
			return err
		}
	}
	if len(victims) == 0 || r.IntN(6) == 0 {
		return nil // rolled back: every event is as it was
	}
	e := &b.erasures
	e.mu.Lock()
	for id, one := range all {
		e.byID[id] = one
	}
	e.mu.Unlock()
	if err := tx.Commit(ctx); err != nil {
		return err // the outcome is the table's to tell
	}
	if err := covered(ctx, conn, nodes); err != nil {
		return err
	}
	round := e.read.Load() + 1
	e.mu.Lock()
	for _, one := range all {
		one.round = round
		if one.redacted {
			e.redacted++
		} else {
			e.erased++
		}
	}
	e.rounds++
	e.mu.Unlock()
	e.read.Store(round)
	return nil
}

// victim is an event at random, the newest most often; 0 when there is none.
func victim(ctx context.Context, tx pgx.Tx, r *rand.Rand) (id int64, one erasure, err error) {
	back := r.IntN(300)
	if r.IntN(4) == 0 {
		back = r.IntN(20_000)
	}
	const victimSQL = `SELECT id, payload->>'k', (payload->>'n')::int FROM outcrier.event
		WHERE type = 'torture.happened' AND id <= (SELECT last_value FROM outcrier.event_id) - $1 AND NOT payload::jsonb ? 'r'
		ORDER BY id DESC LIMIT 1`
	err = tx.QueryRow(ctx, victimSQL, back).Scan(&id, &one.payload.Chain, &one.payload.N)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, one, nil
	}
	return id, one, err
}

func (one *erasure) execute(ctx context.Context, tx pgx.Tx, id int64) error {
	if one.redacted {
		after := one.payload
		after.Redacted = true
		var found bool
		err := tx.QueryRow(ctx, `SELECT outcrier.redact($1, $2::text::json, 'torture')`, id, after.String()).Scan(&found)
		if err == nil && !found {
			panic(fmt.Sprintf("event %d is there, and redact has not found it", id))
		}
		return err
	}
	var erased int64
	err := tx.QueryRow(ctx, `SELECT outcrier.erase($1::bigint, 'torture')`, id).Scan(&erased)
	if err == nil && erased != 1 {
		panic(fmt.Sprintf("to erase event %d erased %d", id, erased))
	}
	return err
}

var errUnread = fmt.Errorf("a node has not read an erasure within %v", testkit.Deadline)

// covered waits until the nodes have read what the session's last transaction
// committed.
func covered(ctx context.Context, conn *pgx.Conn, nodes []*node) error {
	var text string
	if err := conn.QueryRow(ctx, `SELECT outcrier.position()`).Scan(&text); err != nil {
		return err
	}
	want, err := nodes[0].hub.Keys.Open(text)
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, testkit.Deadline)
	defer cancel()
	for _, n := range nodes {
		for reads := int64(math.MaxInt64); ; {
			// The hub's position is that of the end of a read from its first part on: that read has
			// ended when none is under way, or when one more is counted. A busy tail hardly ever has none.
			reached := n.hub.Position().Given.Covers(want.Given)
			status := n.tail.Status()
			if reached && status.Following && (status.Lag == 0 || status.Reads > reads) {
				break
			}
			if reached {
				reads = min(reads, status.Reads)
			}
			if limit.Err() != nil {
				return errUnread
			}
			pause(limit, time.Millisecond)
		}
	}
	return nil
}

// resolve finds out what became of every erasure, those with an unknown outcome too.
func (e *erasures) resolve(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	ids := slices.Collect(maps.Keys(e.byID))
	result, _ := conn.Query(t.Context(), `SELECT id, topic, type, payload::text FROM outcrier.event WHERE id = ANY ($1)`, ids)
	var (
		id                int64
		topic, kind, text string
	)
	rows := 0
	_, err := pgx.ForEachRow(result, []any{&id, &topic, &kind, &text}, func() error {
		rows++
		one, tombstone := e.byID[id], topic == "" && kind == "outcrier.erased" && text == "{}"
		one.gone = tombstone
		after := one.payload
		after.Redacted = true
		if one.round > 0 && one.redacted && text != after.String() || one.round > 0 && !one.redacted && !tombstone {
			t.Errorf("event %d was to be redacted: %t, and is of type %s on topic %q: %s", id, one.redacted, kind, topic, text)
		}
		return nil
	})
	must(t, err)
	if rows != len(ids) {
		t.Errorf("%d events were erased or redacted, and have left %d rows", len(ids), rows)
	}
}

// goneOf is the number of erased events that a reader had received before.
func (e *erasures) goneOf(r *reader) (n int) {
	if e == nil {
		return 0
	}
	for id, one := range e.byID {
		if one.gone && r.has(id) {
			n++
		}
	}
	return n
}

// ids are those of the events on a topic, in their order.
func idsOf(t *testing.T, url, topic string) []int64 {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.Background())
	result, _ := conn.Query(t.Context(), `SELECT id FROM outcrier.event WHERE topic = $1 ORDER BY id`, topic)
	ids, err := pgx.CollectRows(result, pgx.RowTo[int64])
	must(t, err)
	return ids
}

// TestHistory_ErasedIsInNoMemory (P15): a reader that comes after every node has read
// an erasure or redaction does not receive the event, whether the others come from
// memory or from the table.
func TestHistory_ErasedIsInNoMemory(t *testing.T) {
	url := outboxtest.URL(t)
	nodes := []*node{
		startNode(t, url, slog.New(slog.DiscardHandler), &tail.Tail{}),
		startNode(t, url, slog.New(slog.DiscardHandler), &tail.Tail{Wake: tail.WakePoll}),
	}
	a := open(t, url)
	a.add("a", 1)
	caughtUp(t, url, nodes...)
	start, err := positionNow(t.Context(), url)
	must(t, err)
	for n := range 20 {
		a.add("a", n+2)
	}
	caughtUp(t, url, nodes...)
	before, cut, done := follower(t, "before", start, nodes[0])
	wait(t, before.live.Load)
	cut()
	<-done
	if before.count != 20 {
		t.Fatalf("%d of 20 events were given before", before.count)
	}
	ids := idsOf(t, url, "torture/0")
	gone := &erasures{byID: map[int64]*erasure{
		ids[5]: {payload: payload{Chain: "a", N: 6}, round: 1}, ids[7]: {payload: payload{Chain: "a", N: 8}, redacted: true, round: 1},
	}}
	gone.read.Store(1)
	a.run(`BEGIN`, fmt.Sprintf(`SELECT outcrier.erase(%d::bigint, 'torture')`, ids[5]),
		fmt.Sprintf(`SELECT outcrier.redact(%d, '{"k":"a","n":8,"r":true}', 'torture')`, ids[7]), `COMMIT`)
	must(t, covered(t.Context(), a.conn, nodes))
	readers := map[*reader]<-chan struct{}{}
	for i, n := range nodes {
		for _, from := range []string{start, "earliest", before.last} {
			r := &reader{name: fmt.Sprintf("of node %d from %.9s", i, from), from: from, erasures: gone}
			_, readers[r] = r.follow(t, n)
		}
	}
	settle(t, url, readers)
}

// TestHistory_ErasedIsInNoQueue (P15): events that wait in a stream's queue, because its
// reader takes nothing, are erased there too. The others come once.
func TestHistory_ErasedIsInNoQueue(t *testing.T) {
	url := outboxtest.URL(t)
	n := startNode(t, url, slog.New(slog.DiscardHandler), &tail.Tail{})
	r := &reader{name: "held", from: "earliest", hold: make(chan struct{})}
	_, done := r.follow(t, n)
	wait(t, r.live.Load)
	appendLarge := func(topic string, events, size int) {
		execute(t, url, fmt.Sprintf(`INSERT INTO outbox (topic, type, payload)
			SELECT '%s', 'torture.happened', json_build_object('k', '%[1]s', 'n', n, 'padding', repeat('x', %d)) FROM generate_series(1, %d) AS n`, topic, size, events))
		caughtUp(t, url, n)
		pause(t.Context(), 100*time.Millisecond) // the writer writes as much as it can
	}
	appendLarge("torture/kept", 40, 4500) // fills every buffer of the kernel's
	appendLarge("torture/erased", 20, 500)
	a := open(t, url)
	a.run(`SELECT outcrier.erase('torture/erased', 'torture')`)
	must(t, covered(t.Context(), a.conn, []*node{n}))
	close(r.hold)
	wait(t, func() bool { return r.quietFor() > 200*time.Millisecond }) // it has what waits for it
	settle(t, url, map[*reader]<-chan struct{}{r: done})
	if r.count != 40 {
		t.Errorf("given were %d events, not 40", r.count)
	}
}

// TestHistory_LoadedRowsAreNotNew: rows that come into the table by another way than
// the view, with xids of another cluster or of this one's past, are history. A reader
// from the start receives them; no stream has them as new. The ids after them are
// larger.
func TestHistory_LoadedRowsAreNotNew(t *testing.T) {
	url := outboxtest.URL(t)
	n := startNode(t, url, slog.New(slog.DiscardHandler), &tail.Tail{})
	live, _, liveDone := follower(t, "live", "earliest", n)
	a := open(t, url)
	a.add("a", 1)
	caughtUp(t, url, n)
	wait(t, live.live.Load)
	const loaded = 4
	for i, load := range []string{
		`INSERT INTO outcrier.event (xid, id, topic, type, payload) VALUES ('4000000000', 5000, 'torture/loaded', 'torture.happened', '{"k":"l0","n":1}')`,
		`INSERT INTO outcrier.event (xid, id, topic, type, payload) SELECT xid, 5001, 'torture/loaded', type, '{"k":"l1","n":1}' FROM outcrier.event WHERE topic = 'torture/0' LIMIT 1`,
		`SET session_replication_role = replica;
		INSERT INTO outcrier.event (xid, id, topic, type, payload) VALUES ('5000000000', 8000, 'torture/loaded', 'torture.happened', '{"k":"l2","n":1}');
		RESET session_replication_role`,
		`INSERT INTO outcrier.event_default (xid, id, topic, type, payload, created_at) VALUES ('5', 8001, 'torture/loaded', 'torture.happened', '{"k":"l3","n":1}', 'epoch')`,
	} {
		a.run(load)
		a.add("a", i+2)
		caughtUp(t, url, n)
	}
	fresh, _, freshDone := follower(t, "fresh", "earliest", n)
	execute(t, url, `INSERT INTO outbox (topic, type) VALUES ('`+endTopic+`', 'torture.ended')`)
	<-liveDone
	<-freshDone
	if live.count != 1+loaded || len(live.faults) > 0 {
		t.Errorf("the live reader has %d events, %d of them it should not have had: %q", live.count, live.count-1-loaded, live.faults)
	}
	if fresh.count != 1+2*loaded || len(fresh.faults) > 0 {
		t.Errorf("the fresh reader has %d of %d events, the rest was lost: %q", fresh.count, 1+2*loaded, fresh.faults)
	}
	if ids := idsOf(t, url, "torture/0"); ids[len(ids)-1] <= 8001 {
		t.Errorf("ids %v, want the last ones beyond those that were loaded", ids)
	}
}

// TestHistory_KeyOfAnErasedEventIsFree: the next append with the key of an erased event
// is stored, and reaches everybody; a retry of it is not.
func TestHistory_KeyOfAnErasedEventIsFree(t *testing.T) {
	url := outboxtest.URL(t)
	n := startNode(t, url, slog.New(slog.DiscardHandler), &tail.Tail{})
	live, _, done := follower(t, "live", "earliest", n)
	wait(t, live.live.Load)
	a := open(t, url)
	add := func(number int) (id int64) {
		const addSQL = `INSERT INTO outbox (topic, type, payload, dedup_key) VALUES ('torture/0', 'torture.happened', $1, 'key') RETURNING id`
		must(t, a.conn.QueryRow(t.Context(), addSQL, payload{Chain: "a", N: number}.String()).Scan(&id))
		caughtUp(t, url, n)
		return id
	}
	first := add(1)
	if again := add(2); again != first {
		t.Errorf("a retry of event %d came twice: it is event %d", first, again)
	}
	a.run(fmt.Sprintf(`SELECT outcrier.erase(%d::bigint, 'torture')`, first))
	second := add(3)
	if again := add(4); second == first || again != second {
		t.Errorf("event %d was erased, and of its key's next two appends one was lost or came twice: they are events %d and %d", first, second, again)
	}
	execute(t, url, `INSERT INTO outbox (topic, type) VALUES ('`+endTopic+`', 'torture.ended')`)
	<-done
	if !live.has(first) || !live.has(second) || live.count != 2 || len(live.faults) > 0 {
		t.Errorf("given were %d events, not the two that were stored: %q", live.count, live.faults)
	}
}

// TestHistory_ErasedWhileANodeWasAway (P15): a node that had lost its database when
// something was erased meets the erasure with its next read.
func TestHistory_ErasedWhileANodeWasAway(t *testing.T) {
	url := outboxtest.URL(t)
	network := newNetwork(t, hostOf(t, url))
	n := startNode(t, through(t, url, network), slog.New(slog.DiscardHandler), &tail.Tail{})
	a := open(t, url)
	a.add("a", 1)
	caughtUp(t, url, n)
	start, err := positionNow(t.Context(), url)
	must(t, err)
	for i := range 20 {
		a.add("a", i+2)
	}
	caughtUp(t, url, n)
	ids := idsOf(t, url, "torture/0")
	gone := &erasures{byID: map[int64]*erasure{ids[5]: {payload: payload{Chain: "a", N: 6}, round: 1}}}
	gone.read.Store(1)
	network.Down()
	wait(t, func() bool { return !n.tail.Status().Following })
	a.run(fmt.Sprintf(`SELECT outcrier.erase(%d::bigint, 'torture')`, ids[5]))
	for i := range 20 {
		a.add("a", i+22)
	}
	network.Heal()
	must(t, covered(t.Context(), a.conn, []*node{n}))
	r := &reader{name: "resumed", from: start, erasures: gone}
	_, done := r.follow(t, n)
	settle(t, url, map[*reader]<-chan struct{}{r: done})
}
