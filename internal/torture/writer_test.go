package torture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql for AppendSQL

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
)

// payload is what each event carries: its place in a chain of events that were
// appended one after the other, each transaction of the chain committed before
// the next one's append. On every stream N rises within a chain.
type payload struct {
	Chain string `json:"k"`
	N     int    `json:"n"`
	// Redacted is how an event is after a redaction, at the same place.
	Redacted bool `json:"r,omitempty"`
}

func (p payload) String() string {
	if p.Redacted {
		return fmt.Sprintf(`{"k":%q,"n":%d,"r":true}`, p.Chain, p.N)
	}
	return fmt.Sprintf(`{"k":%q,"n":%d}`, p.Chain, p.N)
}

// chain is held from the first append of a transaction until its commit.
type chain struct {
	sync.Mutex
	name string
	n    int
}

func (c *chain) next() payload {
	c.n++
	return payload{Chain: c.name, N: c.n}
}

// business is what all writers share.
type business struct {
	url    string
	topics []string
	shared []*chain
	// short is set in the short form, where most appends have few events: the faults that
	// transactions meet count, and each event costs as much to read as the next.
	short bool
	// enough ends the writers when committed has reached it.
	committed, enough atomic.Int64
	// pause, when not 0, is the longest time between two transactions of a
	// writer.
	pause time.Duration
	// plenty, when not 0, is a number of committed events from which each writer rests up to a second after
	// a transaction: the faults that are still to come need transactions in flight, but not many more events.
	plenty int64
	// forged lets writers draw ids ahead; then ids don't follow the order of
	// appends, and chains prove nothing.
	forged bool
	// acknowledged are the events whose commit was confirmed, refused those
	// whose transaction was rolled back for certain.
	mu                    sync.Mutex
	acknowledged, refused map[payload]bool
	prepared              sync.Map // names of prepared transactions, to their payloads
	kinds                 [32]atomic.Int64
	erasures              erasures
	// keys are some dedup keys of committed events.
	keys []usedKey
	// faults are answers to writers that were wrong.
	faults []string
}

// usedKey is a dedup key, and the event that has it.
type usedKey struct {
	key, topic string
	id         int64
}

// newBusiness has no topics yet.
func newBusiness(url string) *business {
	return &business{url: url, short: !testkit.Long() && os.Getenv("TORTURE_EVENTS") == "" && os.Getenv("TORTURE_FAULTS") == "", acknowledged: map[payload]bool{}, refused: map[payload]bool{}, erasures: erasures{byID: map[int64]*erasure{}}}
}

func (b *business) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.faults) < 20 {
		b.faults = append(b.faults, fmt.Sprintf(format, args...))
	}
}

// someKey is a dedup key at random, if there is one yet.
func (b *business) someKey(r *rand.Rand) (k usedKey, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.keys) == 0 {
		return k, false
	}
	return b.keys[r.IntN(len(b.keys))], true
}

func (b *business) topic(r *rand.Rand) string { return b.topics[r.IntN(len(b.topics))] }

// writer runs transactions until there are enough events.
type writer struct {
	*business
	id   int
	rand *rand.Rand
	own  *chain
	conn *pgx.Conn
	tx   pgx.Tx
	made []payload
	used []usedKey
}

func (b *business) write(ctx context.Context, id int, seed uint64) {
	w := &writer{business: b, id: id, rand: rand.New(rand.NewPCG(seed, uint64(id))), own: &chain{name: fmt.Sprintf("w%d", id)}}
	defer func() {
		if w.conn != nil {
			_ = w.conn.Close(context.Background())
		}
	}()
	for ctx.Err() == nil && b.committed.Load() < b.enough.Load() {
		if w.conn == nil || w.conn.IsClosed() {
			conn, err := pgx.Connect(ctx, b.url)
			if err != nil {
				pause(ctx, 50*time.Millisecond)
				continue
			}
			w.conn = conn
		}
		if err := w.transact(ctx); err != nil && !expected(err) {
			panic(fmt.Sprintf("writer %d: %v", id, err))
		}
		if b.pause > 0 {
			pause(ctx, rand.N(b.pause))
		}
		if b.plenty > 0 && b.committed.Load() >= b.plenty && b.committed.Load() < b.enough.Load() {
			pause(ctx, rand.N(time.Second))
		}
	}
}

// expected tells errors of a server or a session that was killed from our own
// mistakes.
func expected(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:2] {
		case "57", "58", "08", "40", "53", "25": // shutdown, system, connection, serialization, resources, aborted transaction
			return true
		case "55": // lock_not_available, object_in_use
			return true
		}
		return pg.Code == "42704" || // a prepared transaction that somebody else resolved
			pg.Code == "23514" && pg.ConstraintName == "" // no partition is there
	}
	return true // the connection broke
}

// transact runs one transaction of a random kind.
func (w *writer) transact(ctx context.Context) error {
	w.made, w.used = nil, nil
	c := w.own
	if len(w.shared) > 0 && w.rand.IntN(3) == 0 {
		c = w.shared[w.rand.IntN(len(w.shared))]
	}
	levels := []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable}
	twoPhase := w.rand.IntN(20) == 0
	if twoPhase {
		c = &chain{name: fmt.Sprintf("p%d.%d", w.id, w.rand.Uint64())}
		if _, err := w.conn.Exec(ctx, `SET outcrier.notify = 'off'`); err != nil {
			return err
		}
	}
	var err error
	if w.tx, err = w.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: levels[w.rand.IntN(len(levels))]}); err != nil {
		return err
	}
	defer func() { _ = w.tx.Rollback(context.Background()) }()
	if w.rand.IntN(3) == 0 {
		// The xid early, the append late.
		if _, err := w.tx.Exec(ctx, `SELECT pg_current_xact_id()`); err != nil {
			return err
		}
		w.think(ctx)
	}
	c.Lock()
	defer c.Unlock()
	for range 1 + w.rand.IntN(3) {
		kind := w.rand.IntN(len(ways))
		if err := ways[kind](w, ctx, c); err != nil {
			return err
		}
		w.kinds[kind].Add(1)
		if c == w.own {
			w.think(ctx)
		}
	}
	switch {
	case twoPhase:
		return w.prepare(ctx)
	case w.rand.IntN(6) == 0:
		err := w.tx.Rollback(ctx)
		w.outcome(w.refused)
		return err
	}
	if err := w.tx.Commit(ctx); err != nil {
		return err // killed: only the table knows the outcome
	}
	w.outcome(w.acknowledged)
	w.remember()
	w.committed.Add(int64(len(w.made)))
	return nil
}

func (w *writer) outcome(of map[payload]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.made {
		of[p] = true
	}
}

// remember lets others retry with the keys of this transaction.
func (w *writer) remember() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.used {
		if len(w.keys) < 500 {
			w.keys = append(w.keys, k)
		} else {
			w.keys[w.rand.IntN(len(w.keys))] = k
		}
	}
}

// think takes 0 to 2 s, mostly short.
func (w *writer) think(ctx context.Context) {
	switch w.rand.IntN(40) {
	case 0:
		pause(ctx, time.Duration(w.rand.Int64N(int64(2*time.Second))))
	case 1, 2, 3:
		pause(ctx, time.Duration(w.rand.Int64N(int64(100*time.Millisecond))))
	case 4, 5, 6, 7, 8:
		pause(ctx, time.Duration(w.rand.Int64N(int64(5*time.Millisecond))))
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

const insert = `INSERT INTO outbox (topic, type, payload) VALUES ($1, 'torture.happened', $2)`

// ways are all the ways to append.
var ways = []func(w *writer, ctx context.Context, c *chain) error{
	func(w *writer, ctx context.Context, c *chain) error { return w.exec(ctx, insert, c) },
	func(w *writer, ctx context.Context, c *chain) error { return w.exec(ctx, insert, c) },
	func(w *writer, ctx context.Context, c *chain) error {
		return w.exec(ctx, insert+` ON CONFLICT DO NOTHING`, c)
	},
	func(w *writer, ctx context.Context, c *chain) error {
		return w.exec(ctx, `SELECT outcrier.append($1, 'torture.happened', $2)`, c)
	},
	func(w *writer, ctx context.Context, c *chain) error {
		return w.exec(ctx, `SELECT torture_append($1, $2)`, c)
	},
	func(w *writer, ctx context.Context, c *chain) error { // straight into a partition
		return w.exec(ctx, `INSERT INTO outcrier.event_default (topic, type, payload, created_at) VALUES ($1, 'torture.happened', $2, 'epoch')`, c)
	},
	func(w *writer, ctx context.Context, c *chain) error { // a data-modifying CTE
		return w.exec(ctx, `WITH appended AS (`+insert+` RETURNING id) INSERT INTO torture_business SELECT id FROM appended`, c)
	},
	func(w *writer, ctx context.Context, c *chain) error { // the Go function, several at once
		drafts := make([]outbox.Draft, 1+w.rand.IntN(5))
		for i := range drafts {
			p := c.next()
			w.made = append(w.made, p)
			drafts[i] = outbox.Draft{Topic: w.topic(w.rand), Type: "torture.happened", Payload: p}
			if w.rand.IntN(4) == 0 {
				drafts[i].DedupKey = p.String()
			}
		}
		ids, err := outbox.Append(ctx, w.tx, drafts...)
		for i := range ids {
			if drafts[i].DedupKey != "" {
				w.used = append(w.used, usedKey{drafts[i].DedupKey, drafts[i].Topic, ids[i]})
			}
		}
		return err
	},
	func(w *writer, ctx context.Context, c *chain) error { // arrays
		n := w.some(50)
		topics, types, payloads := make([]string, n), make([]string, n), make([]string, n)
		for i := range n {
			p := c.next()
			w.made = append(w.made, p)
			topics[i], types[i], payloads[i] = w.topic(w.rand), "torture.happened", p.String()
		}
		_, err := w.tx.Exec(ctx, `SELECT outcrier.append_all($1::text[], $2::text[], $3::text[])`, topics, types, payloads)
		return err
	},
	func(w *writer, ctx context.Context, c *chain) error { return w.appendAsLoaded(ctx, c) },
	func(w *writer, ctx context.Context, _ *chain) error { return w.appendInvalid(ctx) },
	func(w *writer, ctx context.Context, c *chain) error { return w.retry(ctx, c) },
	func(w *writer, ctx context.Context, c *chain) error { // in bulk
		n, first := w.some(200), c.n+1
		for range n {
			w.made = append(w.made, c.next())
		}
		_, err := w.tx.Exec(ctx, `INSERT INTO outbox (topic, type, payload)
			SELECT $1, 'torture.happened', json_build_object('k', $2::text, 'n', n) FROM generate_series($3::int, $4::int) AS n`,
			w.topic(w.rand), c.name, first, first+n-1)
		return err
	},
	func(w *writer, ctx context.Context, c *chain) error { // COPY
		rows := make([][]any, w.some(100))
		for i := range rows {
			p := c.next()
			w.made = append(w.made, p)
			rows[i] = []any{w.topic(w.rand), "torture.happened", p.String()}
		}
		_, err := w.tx.CopyFrom(ctx, pgx.Identifier{"outbox"}, []string{"topic", "type", "payload"}, pgx.CopyFromRows(rows))
		return err
	},
	func(w *writer, ctx context.Context, c *chain) error { // a savepoint rolled back, and one kept
		nested, err := w.tx.Begin(ctx)
		if err != nil {
			return err
		}
		gone := c.next()
		if _, err := nested.Exec(ctx, insert, w.topic(w.rand), gone.String()); err != nil {
			return err
		}
		if err := nested.Rollback(ctx); err != nil {
			return err
		}
		w.mu.Lock()
		w.refused[gone] = true
		w.mu.Unlock()
		outer := w.tx
		if w.tx, err = outer.Begin(ctx); err != nil {
			w.tx = outer
			return err
		}
		err = w.exec(ctx, insert, c)
		if err == nil {
			err = w.tx.Commit(ctx)
		}
		w.tx = outer
		return err
	},
	func(w *writer, ctx context.Context, c *chain) error { // ids drawn long before
		if !w.forged {
			return w.exec(ctx, insert, c)
		}
		var id int64
		if err := w.tx.QueryRow(ctx, `SELECT nextval('outcrier.event_id')`).Scan(&id); err != nil {
			return err
		}
		w.think(ctx)
		p := c.next()
		w.made = append(w.made, p)
		_, err := w.tx.Exec(ctx, `INSERT INTO outcrier.event (id, topic, type, payload) VALUES ($1, $2, 'torture.happened', $3)`, id, w.topic(w.rand), p.String())
		return err
	},
}

// some is a number of events for one append.
func (w *writer) some(most int) int {
	if w.short {
		most = 1 + w.rand.IntN(1+w.rand.IntN(most))
	}
	return 1 + w.rand.IntN(most)
}

func (w *writer) exec(ctx context.Context, query string, c *chain) error {
	p := c.next()
	w.made = append(w.made, p)
	_, err := w.tx.Exec(ctx, query, w.topic(w.rand), p.String())
	return err
}

// appendAsLoaded appends with an id and a time that are another row's, as an ORM does
// with the clone of a loaded one: both are replaced.
func (w *writer) appendAsLoaded(ctx context.Context, c *chain) error {
	given := 1 + w.rand.Int64N(1000)
	p := c.next()
	w.made = append(w.made, p)
	var id, highest int64
	var recent bool
	const loadedSQL = `INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
		VALUES ($1, $2, 'torture.happened', $3, NULL, NULL, NULL, NULL, 'epoch')
		RETURNING id, created_at > 'epoch', (SELECT last_value FROM outcrier.event_id)`
	if err := w.tx.QueryRow(ctx, loadedSQL, given, w.topic(w.rand), p.String()).Scan(&id, &recent, &highest); err != nil {
		return err
	}
	if id == given && highest > 5000 || !recent {
		w.fault("an append with id %d and the time 0 should not have had them: it is event %d, of now: %t", given, id, recent)
	}
	return nil
}

// invalid are appends that must be refused, whatever way they take.
var invalid = []struct{ topic, kind string }{
	{"", "torture.happened"}, {"torture//0", "torture.happened"}, {"/torture", "torture.happened"}, {"torture/*", "torture.happened"},
	{"torture/0\n", "torture.happened"}, {strings.Repeat("t", 256), "torture.happened"},
	{"torture/0", ""}, {"torture/0", "outcrier.erased"}, {"torture/0", "outcrier.reset"}, {"torture/0", "torture\x1bhappened"}, {"torture/0", "torture\u2028happened"}, {"torture/0", strings.Repeat("t", 256)},
}

// appendInvalid is undone with its savepoint.
func (w *writer) appendInvalid(ctx context.Context) error {
	nested, err := w.tx.Begin(ctx)
	if err != nil {
		return err
	}
	chosen := invalid[w.rand.IntN(len(invalid))]
	_, err = nested.Exec(ctx, []string{
		`INSERT INTO outbox (topic, type) VALUES ($1, $2)`, `INSERT INTO outbox (topic, type, source) VALUES ($1, $2, '/torture')`,
		`SELECT outcrier.append($1, $2)`, `SELECT outcrier.append_all(ARRAY['a', $1], ARRAY['t', $2], NULL::text[])`,
	}[w.rand.IntN(4)], chosen.topic, chosen.kind)
	if code := sqlState(err); err == nil {
		w.fault("topic %.20q and type %.20q should not have had an event", chosen.topic, chosen.kind)
	} else if code != "23514" {
		return err
	}
	return nested.Rollback(ctx)
}

// retry appends with a key that is taken: the same event has its id back and stores
// nothing, unless it was erased; another one is refused.
func (w *writer) retry(ctx context.Context, c *chain) error {
	used, ok := w.someKey(w.rand)
	if !ok {
		return w.exec(ctx, insert, c)
	}
	nested, err := w.tx.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = nested.Rollback(context.Background()) }()
	before := w.erasures.of(used.id)
	const retrySQL = `INSERT INTO outbox (topic, type, payload, dedup_key) VALUES ($1, $2, $3, $4) RETURNING id`
	kind, p := "torture.happened", c.next() // stored only if the first is erased
	other := w.rand.IntN(2) == 0
	if other {
		kind = "torture.other"
	}
	var id int64
	err = nested.QueryRow(ctx, retrySQL, used.topic, kind, p.String(), used.key).Scan(&id)
	erased := before != nil || w.erasures.of(used.id) != nil
	switch {
	case other && err == nil:
		if !erased {
			w.fault("a key of event %d should not have had another event: it is given to type %s", used.id, kind)
		}
		return nested.Rollback(ctx)
	case other && sqlState(err) == "23505":
		return nested.Rollback(ctx)
	case err != nil:
		return err
	case id != used.id && !erased:
		w.fault("the retry of event %d came twice: it is event %d", used.id, id)
	case id == used.id && before != nil && !before.redacted && before.round > 0:
		w.fault("the retry of event %d was lost: that event is erased", id)
	}
	return nested.Commit(ctx)
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// prepare leaves the transaction prepared, for resolve.
func (w *writer) prepare(ctx context.Context) error {
	name := fmt.Sprintf("torture_%d_%d", w.id, w.rand.Uint64())
	w.prepared.Store(name, w.made)
	_, err := w.tx.Exec(ctx, `PREPARE TRANSACTION '`+name+`'`)
	if err != nil {
		return err
	}
	// The transaction is no longer the session's.
	if _, err := w.tx.Exec(ctx, `ROLLBACK`); err != nil {
		return err
	}
	_, err = w.conn.Exec(ctx, `RESET outcrier.notify`)
	return err
}

// resolve commits or rolls back a part of the prepared transactions, or all.
func (b *business) resolve(ctx context.Context, r *rand.Rand, all bool) error {
	db, err := sql.Open("pgx", b.url)
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `SELECT gid FROM pg_prepared_xacts WHERE database = current_database()`)
	if err != nil {
		return err
	}
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, name := range names {
		if !all && r.IntN(3) > 0 {
			continue
		}
		verb, of := "COMMIT", b.acknowledged
		if r.IntN(3) == 0 {
			verb, of = "ROLLBACK", b.refused
		}
		if _, err := db.ExecContext(ctx, verb+` PREPARED '`+name+`'`); err != nil {
			return err
		}
		made, _ := b.prepared.Load(name)
		b.mu.Lock()
		for _, p := range made.([]payload) {
			of[p] = true
		}
		b.mu.Unlock()
		if verb == "COMMIT" {
			b.committed.Add(int64(len(made.([]payload))))
		}
	}
	return nil
}
