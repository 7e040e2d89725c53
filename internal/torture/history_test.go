package torture

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
)

// The histories of this file are steps of transactions named by letters. Those
// that are in no list of chance's are the ones that designs broke on.

// session is one transaction's connection.
type session struct {
	t    *testing.T
	conn *pgx.Conn
}

func open(t *testing.T, url string) session {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return session{t, conn}
}

func (s session) run(statements ...string) {
	s.t.Helper()
	for _, statement := range statements {
		if _, err := s.conn.Exec(s.t.Context(), statement); err != nil {
			s.t.Fatalf("%s: %v", statement, err)
		}
	}
}

// add appends an event of a chain.
func (s session) add(chain string, n int) {
	s.t.Helper()
	s.run(fmt.Sprintf(`INSERT INTO outbox (topic, type, payload) VALUES ('torture/0', 'torture.happened', '%s')`, payload{Chain: chain, N: n}))
}

// follower is a reader of everything that does not drop by itself.
func follower(t *testing.T, name, from string, nodes ...*node) (*reader, context.CancelFunc, <-chan struct{}) {
	t.Helper()
	if from == "" {
		t.Fatalf("%s has nothing to start from", name)
	}
	r := &reader{name: name, from: from}
	cancel, done := r.follow(t, nodes...)
	return r, cancel, done
}

// follow lets a reader follow everything, without drops of its own.
func (r *reader) follow(t *testing.T, nodes ...*node) (context.CancelFunc, <-chan struct{}) {
	r.steady = &atomic.Bool{}
	r.steady.Store(true)
	r.filter, r.rand = everything(), rand.New(rand.NewPCG(1, 2))
	r.nodes = func() []string { return urls(nodes) }
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	done := make(chan struct{})
	go func() { defer close(done); r.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return cancel, done
}

// settle ends a history and checks every reader.
func settle(t *testing.T, url string, readers map[*reader]<-chan struct{}) {
	t.Helper()
	execute(t, url, `INSERT INTO outbox (topic, type) VALUES ('`+endTopic+`', 'torture.ended')`)
	rows, keys := committed(t, url, &business{}), keysOf(t, url)
	for r, done := range readers {
		<-done
		for _, fault := range r.check(keys, rows, true) {
			t.Error(fault)
		}
	}
}

// caughtUp waits until the node has read what the caller committed.
func caughtUp(t *testing.T, url string, nodes ...*node) {
	t.Helper()
	for _, n := range nodes { // the first one begins a history
		wait(t, func() bool { return n.tail.Status().Following })
	}
	text, err := positionNow(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	want, err := nodes[0].hub.Keys.Open(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		wait(t, func() bool { return n.tail.Status().Following && n.hub.Position().Given.Covers(want.Given) })
	}
}

func wait(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testkit.Deadline); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen within %v", testkit.Deadline)
		}
	}
}

// TestHistory_XidsReusedAfterACrash: the xids of transactions that aborted are assigned
// again after a crash. A tail that takes everything below the snapshot's xmax for
// delivered would take the events of their next owners for delivered too.
func TestHistory_XidsReusedAfterACrash(t *testing.T) {
	server := startPostgres(t)
	url := server.URL("")
	n := startNode(t, url, slog.New(slog.DiscardHandler), &tail.Tail{Turn: time.Millisecond, IdleTurn: 20 * time.Millisecond})
	r, _, done := follower(t, "follower", "earliest", n)
	var b session
	for attempt := 1; ; attempt++ {
		a := open(t, url)
		for i := range 20 {
			a.add(fmt.Sprintf("a%d", attempt), i+1)
		}
		caughtUp(t, url, n)
		// The tail has requested a wake-up, and so has no cause to write.
		reads := n.tail.Status().Reads
		wait(t, func() bool { return n.tail.Status().Reads > reads+3 })
		var before, after uint64
		for range 50 { // nothing of these reaches the disk
			a.run(`BEGIN`, `SELECT pg_current_xact_id()`, `ROLLBACK`)
		}
		if err := a.conn.QueryRow(t.Context(), `SELECT pg_snapshot_xmax(pg_current_snapshot())`).Scan(&before); err != nil {
			t.Fatal(err)
		}
		reads = n.tail.Status().Reads
		wait(t, func() bool { return n.tail.Status().Reads > reads+1 })
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		b = open(t, url)
		if err := b.conn.QueryRow(t.Context(), `SELECT pg_current_xact_id()`).Scan(&after); err != nil {
			t.Fatal(err)
		}
		if after < before {
			break
		}
		// The tail has tested LISTEN meanwhile, which is a commit.
		if attempt == 5 {
			t.Fatalf("no xid was handed out again: %d before the crash, %d after it", before, after)
		}
	}
	for i := range 20 {
		b.add("b", i+1)
	}
	settle(t, url, map[*reader]<-chan struct{}{r: done})
}

// TestHistory_RunningBeyondXmax: a transaction that runs can have an xid beyond
// its snapshot's xmax, be in no list, and own an id below the highest seen.
func TestHistory_RunningBeyondXmax(t *testing.T) {
	url := outboxtest.URL(t)
	n := startNode(t, url, slog.New(slog.DiscardHandler), &tail.Tail{})
	r, cut, done := follower(t, "follower", "earliest", n)
	a, b := open(t, url), open(t, url)
	a.run(`BEGIN`, `SELECT pg_current_xact_id()`)
	b.run(`BEGIN`)
	b.add("b", 1) // the later xid, the smaller id
	a.add("a", 1)
	a.run(`COMMIT`)
	caughtUp(t, url, n)
	wait(t, r.live.Load)
	cut()
	<-done
	middle, _, middleDone := follower(t, "resumed", r.last, n)
	late, _, lateDone := follower(t, "started", "earliest", n)
	b.run(`COMMIT`)
	settle(t, url, map[*reader]<-chan struct{}{middle: middleDone, late: lateDone})
}

// TestHistory_XidEarlyAppendLate: a transaction may take its xid early and append
// late; its events then come after those that were committed before the append.
func TestHistory_XidEarlyAppendLate(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	n := startNode(t, url, slog.New(slog.DiscardHandler), &tail.Tail{Turn: time.Second})
	r, _, done := follower(t, "live", "earliest", n)
	a, b := open(t, url), open(t, url)
	for i := range 50 {
		a.run(`BEGIN`, `SELECT pg_current_xact_id()`)
		b.add(fmt.Sprint("chain", i), 1)
		a.add(fmt.Sprint("chain", i), 2)
		a.run(`COMMIT`)
	}
	caughtUp(t, url, n)
	again, _, againDone := follower(t, "replayed", "earliest", n)
	settle(t, url, map[*reader]<-chan struct{}{r: done, again: againDone})
}

// TestHistory_NodeStartsAmongOpenTransactions: a transaction that is open when a node
// starts is delivered when it commits, even before the node's first read.
func TestHistory_NodeStartsAmongOpenTransactions(t *testing.T) {
	url := outboxtest.URL(t)
	a, b, c := open(t, url), open(t, url), open(t, url)
	a.run(`BEGIN`)
	a.add("a", 1)
	c.run(`BEGIN`)
	c.add("c", 1)
	b.add("b", 1)
	started, goOn := make(chan struct{}), make(chan struct{})
	n := startNode(t, url, slog.New(slog.DiscardHandler), &tail.Tail{Start: func(position.Position) {
		close(started)
		<-goOn
	}})
	<-started
	r, _, done := follower(t, "follower", "earliest", n)
	wait(t, r.live.Load)
	c.run(`COMMIT`)
	close(goOn)
	caughtUp(t, url, n)
	from, err := positionNow(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	second, _, secondDone := follower(t, "from its own snapshot", from, n)
	a.run(`COMMIT`)
	settle(t, url, map[*reader]<-chan struct{}{r: done, second: secondDone})
}

// TestHistory_LongTransactionDelaysNobody (P5): a transaction that appended and
// stays open, and an idle one in another database, delay no other event, and the
// first one's event arrives after its commit, also on streams that connected or resumed
// meanwhile.
func TestHistory_LongTransactionDelaysNobody(t *testing.T) {
	t.Parallel()
	held := 3 * time.Second
	if testkit.Long() {
		held = 60 * time.Second
	}
	url, other := outboxtest.URL(t), outboxtest.URL(t)
	nodes := []*node{
		startNode(t, url, slog.New(slog.DiscardHandler), &tail.Tail{}),
		startNode(t, url, slog.New(slog.DiscardHandler), &tail.Tail{Wake: tail.WakePoll}),
	}
	idle := open(t, other)
	idle.run(`BEGIN`, `SELECT pg_current_xact_id()`)
	long := open(t, url)
	long.run(`BEGIN`)
	long.add("long", 1)

	readers, cuts, dones := []*reader{}, []context.CancelFunc{}, []<-chan struct{}{}
	join := func(name, from string) {
		r, cut, done := follower(t, name, from, nodes[len(readers)%2])
		readers, cuts, dones = append(readers, r), append(cuts, cut), append(dones, done)
		wait(t, r.live.Load)
	}
	join("first node", "earliest")
	join("second node", "earliest")
	writer := open(t, url)
	n, slowest := 0, time.Duration(0)
	for began := time.Now(); time.Since(began) < held; {
		n++
		committed := time.Now()
		writer.add("short", n)
		caughtUp(t, url, nodes...)
		slowest = max(slowest, time.Since(committed))
		if n%50 == 0 && len(readers) < 8 {
			last := len(readers) - 1
			cuts[last]()
			<-dones[last]
			join(fmt.Sprint("resumed ", n), readers[last].last)
			join(fmt.Sprint("new ", n), "earliest")
		}
		time.Sleep(10 * time.Millisecond) // the pace of the writer
	}
	long.run(`COMMIT`)
	committed := time.Now()
	caughtUp(t, url, nodes...)
	arrived := time.Since(committed)
	t.Logf("open for %v: %d other events, the slowest after %v; its own after %v", held, n, slowest, arrived)
	live := map[*reader]<-chan struct{}{}
	for i, r := range readers {
		select {
		case <-dones[i]:
		default:
			live[r] = dones[i]
		}
	}
	settle(t, url, live)
}
