package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/badnet"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
)

// field is where faults happen: writers on a Postgres, nodes as processes, readers
// on the nodes, and a bad network on either side of each node.
type field struct {
	t      *testing.T
	url    string // of Postgres, past all networks
	nodes  []*process
	chance *rand.Rand
	// database[i] is between the i-th node and Postgres, client[i] between it
	// and its readers.
	database, client []*badnet.Proxy
	// front, when not empty, is where all readers go.
	front    string
	business *business
	readers  []*reader
	probes   int
	probing  *pgx.Conn // appends the probes; nil until the next one, once it is broken
	// lossy is a fault that takes committed events away; if anew is set, no position is
	// valid afterwards.
	lossy, anew bool

	writing        sync.WaitGroup
	stopWriting    context.CancelFunc
	readingDone    sync.WaitGroup
	reading        context.Context
	stopReading    context.CancelFunc
	readersStarted int
	seed           uint64
	windows        []window
}

// window is what happened from a fault's injection until the recovery from it, as
// ids: (after, upTo].
type window struct {
	finding
	after, upTo int64
}

// probeTopic carries the events by which a recovery is seen.
const probeTopic = "torture/probe"

// newField makes a field on a database that is migrated, and has the role of nodes. Every other node compresses its
// streams. It has the race detector, and in the long form all have: under it a node computes three
// times as much.
func newField(t *testing.T, database string, nodes int, args ...string) *field {
	t.Helper()
	programs := []string{racedAtLength(t), raced(t)}
	if nodes == 1 {
		programs = programs[1:]
	}
	return newFieldOf(t, programs, database, nodes, args...)
}

// newFieldOf is newField with nodes of these programs by turns.
func newFieldOf(t *testing.T, programs []string, database string, nodes int, args ...string) *field {
	t.Helper()
	s := seed(t)
	f := &field{t: t, url: database, seed: s, chance: rand.New(rand.NewPCG(s, 0))}
	findings.mu.Lock()
	findings.seeds = append(findings.seeds, fmt.Sprintf("%s %d", t.Name(), s))
	findings.mu.Unlock()
	for i := range nodes {
		args := args
		if i%2 == 1 {
			args = append([]string{"--gzip"}, args...)
		}
		f.database = append(f.database, newNetwork(t, hostOf(t, database)))
		n := newProcessOf(t, programs[i%len(programs)], asNode(t, through(t, database, f.database[len(f.database)-1])), args...)
		f.nodes = append(f.nodes, n)
		f.client = append(f.client, newNetwork(t, n.listen))
	}
	for _, n := range f.nodes {
		testkit.Eventually(t, "a node is ready", n.ready)
	}
	f.business = newBusiness(database)
	f.business.enough.Store(1 << 60)
	for i := range 16 {
		f.business.topics = append(f.business.topics, fmt.Sprintf("torture/%d/%d", i%4, i))
	}
	for i := range 4 {
		f.business.shared = append(f.business.shared, &chain{name: fmt.Sprintf("s%d", i)})
	}
	f.reading, f.stopReading = context.WithCancel(context.Background())
	t.Cleanup(func() {
		f.stopReading()
		f.readingDone.Wait()
		f.endProbing()
		if f.stopWriting != nil {
			f.stopWriting()
			f.writing.Wait()
		}
	})
	return f
}

// hostOf is host:port of a database's URL.
func hostOf(t *testing.T, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// through is the URL of a database, reached through a network.
func through(t *testing.T, database string, network *badnet.Proxy) string {
	t.Helper()
	return at(t, database, network.Address())
}

// at is the URL of the same database at another address.
func at(t *testing.T, database, address string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = address
	return u.String()
}

// nodeRole is whom nodes log in as: who may do what a server needs, and no more.
const nodeRole = "torture_node"

// asNode is the URL of a database for a node.
func asNode(t *testing.T, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(nodeRole, nodeRole)
	return u.String()
}

func (f *field) prepare() {
	f.t.Helper()
	execute(f.t, f.url, `CREATE TABLE torture_business (id bigint)`,
		`CREATE FUNCTION torture_append(topic text, payload json) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN INSERT INTO outbox (topic, type, payload) VALUES (topic, 'torture.happened', payload); END $$`)
}

// write starts writers, which commit about 20 events each a second, and half as many in the short form.
func (f *field) write(writers int) {
	f.business.pause = 400 * time.Millisecond
	if f.business.short {
		f.business.pause *= 2
	}
	ctx, stop := context.WithCancel(context.Background())
	f.stopWriting = stop
	for i := range writers {
		f.writing.Go(func() { f.business.write(ctx, i, f.seed) })
	}
}

// read starts readers at all nodes. Every other one drops by itself, and the first
// follows everything.
func (f *field) read(readers int) {
	for i := range readers {
		filter := filterOf(i, f.business.topics, f.chance)
		filter.Topics = append(filter.Topics, probeTopic)
		f.follow(&reader{name: fmt.Sprintf("reader %d", i), filter: filter, slow: i%5 == 1, longGone: i%6 == 5, steady: new(atomic.Bool)}, i%2 == 0)
	}
	for i, r := range f.readers {
		if i%2 == 0 {
			testkit.Eventually(f.t, "a reader is live", r.live.Load)
		}
	}
}

// follow starts a reader, at random nodes unless it says otherwise.
func (f *field) follow(r *reader, steady bool) {
	r.steady.Store(steady)
	r.patience = 1500 * time.Millisecond
	r.rand = rand.New(rand.NewPCG(f.seed, uint64(1000+f.readersStarted)))
	f.readersStarted++
	if r.from == "" {
		r.from = "earliest"
	}
	if r.nodes == nil {
		r.nodes = f.addresses
	}
	f.readers = append(f.readers, r)
	f.readingDone.Go(func() { r.run(f.reading) })
}

func (f *field) addresses() (list []string) {
	if f.front != "" {
		return []string{f.front}
	}
	for _, network := range f.client {
		list = append(list, "http://"+network.Address())
	}
	return list
}

// suffer injects a fault, which is over when do returns, and waits until every steady
// reader has received an event that was appended after it.
func (f *field) suffer(name string, within time.Duration, do func()) {
	f.t.Helper()
	before := f.newest()
	gaps := 0
	for _, r := range f.readers {
		r.silences()
		gaps -= len(r.told())
	}
	began := time.Now()
	do()
	over := time.Now()
	f.recover(name, bounded(within))
	w := window{finding: finding{fault: name, times: 1, recovery: time.Since(over), bound: within, gaps: gaps}, after: before, upTo: f.newest()}
	for _, r := range f.readers {
		w.gaps += len(r.told())
		if r.steady.Load() {
			w.silence = max(w.silence, r.silences())
		}
	}
	f.t.Logf("%-45s held for %v, recovered after %v, longest silence %v", name, over.Sub(began).Round(time.Millisecond), w.recovery.Round(time.Millisecond), w.silence.Round(time.Millisecond))
	f.windows = append(f.windows, w)
}

// bounded is the bound of a recovery where make faults measures it. Elsewhere it is as long as a
// machine with other work may need.
func bounded(within time.Duration) time.Duration {
	if os.Getenv("TORTURE_FAULTS") == "" {
		return max(within, testkit.Deadline)
	}
	return within
}

// recover waits until all steady readers have a new probe. After a gap a reader
// receives only events that are appended later, so probes go on.
func (f *field) recover(name string, within time.Duration) {
	f.t.Helper()
	target := f.probes + 1
	end := time.Now().Add(within)
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	var failed error
	began := time.Now()
	for again := began; ; time.Sleep(5 * time.Millisecond) {
		if now := time.Now(); !now.Before(again) {
			if failed = f.probe(ctx); failed == nil {
				f.probes++
			}
			again = now.Add(max(100*time.Millisecond, now.Sub(began)/8))
		}
		i := slices.IndexFunc(f.readers, func(r *reader) bool { return r.steady.Load() && r.probed() < target })
		switch {
		case i < 0 && f.probes >= target:
			return
		case time.Now().Before(end):
		case f.probes < target:
			f.t.Fatalf("%s: nothing can be appended within %v: %v", name, within, failed)
		default:
			f.t.Fatalf("%s: %s has not recovered within %v", name, f.readers[i].name, within)
		}
	}
}

// probe appends an event that all steady readers follow.
func (f *field) probe(ctx context.Context) error {
	return f.ask(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `INSERT INTO outbox (topic, type, payload) VALUES ('`+probeTopic+`', 'torture.probe', $1)`, payload{Chain: "probe", N: f.probes + 1}.String())
		return err
	})
}

// ask asks on the connection of the probes.
func (f *field) ask(ctx context.Context, do func(*pgx.Conn) error) (err error) {
	if f.probing == nil {
		if f.probing, err = connect(ctx, f.url); err != nil {
			return err
		}
	}
	if err = do(f.probing); err != nil {
		f.endProbing()
	}
	return err
}

func (f *field) endProbing() {
	if f.probing != nil {
		_ = f.probing.Close(context.Background())
		f.probing = nil
	}
}

// newest is the last id drawn.
func (f *field) newest() (id int64) {
	f.t.Helper()
	must(f.t, f.ask(f.t.Context(), func(conn *pgx.Conn) error {
		return conn.QueryRow(f.t.Context(), `SELECT last_value FROM outcrier.event_id`).Scan(&id)
	}))
	return id
}

// end stops the writers, lets every reader come to the end, and compares the events
// that they received with the table.
func (f *field) end() {
	f.t.Helper()
	if f.stopWriting != nil {
		f.business.enough.Store(0)
		f.writing.Wait()
		if err := f.business.resolve(f.t.Context(), f.chance, true); err != nil {
			f.t.Fatal(err)
		}
	}
	for _, r := range f.readers {
		r.steady.Store(true)
	}
	stop := time.AfterFunc(2*testkit.Deadline, f.stopReading)
	defer stop.Stop()
	done := make(chan struct{})
	go func() { defer close(done); f.readingDone.Wait() }()
	// Again and again, for readers that come back to a gap after it.
	for reading := true; reading; {
		execute(f.t, f.url, `INSERT INTO outbox (topic, type) VALUES ('`+endTopic+`', 'torture.ended')`)
		select {
		case <-done:
			reading = false
		case <-time.After(time.Second):
		}
	}

	var rows []row
	if f.lossy {
		f.business.acknowledged, f.business.faults = nil, nil
	}
	rows = committed(f.t, f.url, f.business)
	given, keys := 0, keysOf(f.t, f.url)
	for _, r := range f.readers {
		for _, fault := range r.check(keys, rows, true) {
			f.t.Error(fault)
		}
		given += r.count
	}
	f.t.Logf("%d events committed, %d given to %d readers; %d faults", len(rows), given, len(f.readers), len(f.windows))
	for _, w := range f.windows {
		for _, row := range rows {
			if row.id > w.after && row.id <= w.upTo {
				w.flying++
				for _, r := range f.readers {
					if r.has(row.id) {
						w.given++
					}
				}
			}
		}
		for _, r := range f.readers {
			w.lost += w.count(r.lost)
			w.repeated += w.count(r.repeated)
		}
		findings.add(w.finding)
	}
}

// count is how many of the ids are in the window.
func (w window) count(ids []int64) (n int) {
	for _, id := range ids {
		if id > w.after && id <= w.upTo {
			n++
		}
	}
	return n
}

// connect opens a session that waits for nothing for long.
func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return pgx.Connect(ctx, url)
}

// everything is a filter for it.
func everything() outbox.Filter { return outbox.Filter{Topics: []outbox.Pattern{"**"}} }

// shuffled is a list in an order of chance.
func shuffled[T any](chance *rand.Rand, list []T) []T {
	list = slices.Clone(list)
	chance.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}
