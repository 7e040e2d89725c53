package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
)

// settings are those of the Postgres that is killed. The writer of the WAL sleeps
// long, so that what did not commit is lost with the process.
var settings = map[string]string{
	"fsync":                     "off",
	"max_connections":           "120",
	"max_prepared_transactions": "100",
	"wal_writer_delay":          "10s",
	// For observers, when no other connection is accepted.
	"superuser_reserved_connections": "20",
}

// startPostgres starts a migrated Postgres that the test may kill.
func startPostgres(t *testing.T) *pgserver.Server {
	t.Helper()
	return startPostgresOf(t, pgserver.Config{})
}

func startPostgresOf(t *testing.T, config pgserver.Config) *pgserver.Server {
	t.Helper()
	var err error
	config.From, err = migrated()
	must(t, err)
	return runPostgres(t, config)
}

// migrated makes the databases that each Postgres of the tests is a copy of: migrated, with the
// role that nodes log in as.
var migrated = sync.OnceValues(func() (folder string, err error) {
	ctx := context.Background()
	if folder, err = os.MkdirTemp(pgserver.MemoryFolder(), "outcrier-torture-"); err != nil {
		return "", err
	}
	template = folder
	server, err := pgserver.Start(ctx, pgserver.Config{Settings: settings, Memory: true})
	if err != nil {
		return "", err
	}
	defer func() { _ = server.Stop() }()
	schema := migrations.Migrations{URL: server.URL("")}
	if err := errors.Join(schema.Up(ctx), schema.Roles(ctx)); err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, schema.URL)
	if err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, `CREATE ROLE `+nodeRole+` LOGIN PASSWORD '`+nodeRole+`' IN ROLE outcrier_server`)
	return folder, errors.Join(err, conn.Close(ctx), server.Store(ctx, folder))
})

// runPostgres starts a Postgres on an existing folder.
func runPostgres(t *testing.T, config pgserver.Config) *pgserver.Server {
	t.Helper()
	if config.Settings == nil {
		config.Settings = settings
	}
	config.Memory = config.Settings["fsync"] == "off" // the soak's is as it comes
	server, err := pgserver.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func execute(t *testing.T, url string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// size is how many events a torture must commit: TORTURE_EVENTS, which make torture sets, and so do
// the mutants; or a few thousand, and many more in make test-long.
func size(t *testing.T) int64 {
	if text := os.Getenv("TORTURE_EVENTS"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatalf("TORTURE_EVENTS: %v", err)
		}
		return n
	}
	if testkit.Long() {
		return 200_000
	}
	return 3_000
}

// seed is TORTURE_SEED, or a new one; it is printed.
func seed(t *testing.T) uint64 {
	s := rand.Uint64()
	if text := os.Getenv("TORTURE_SEED"); text != "" {
		var err error
		if s, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("TORTURE_SEED: %v", err)
		}
	}
	t.Logf("TORTURE_SEED=%d", s)
	return s
}

// TestTorture: nothing lost, nothing twice, in order, whatever writers, readers
// and crashes do.
func TestTorture(t *testing.T) {
	n := size(t)
	let(t, torture{events: n, writers: 32, readers: 32, crashes: int(max(2, n/100_000))})
}

// TestTorture_IdsOutOfOrder: ids that are drawn long before the insert, by hand
// or by a cache of the sequence, lose nothing and repeat nothing. Only the order
// is then the writers' own doing.
func TestTorture_IdsOutOfOrder(t *testing.T) {
	let(t, torture{events: size(t) / 10, writers: 16, readers: 16, crashes: 2, forged: true})
}

// TestTorture_EveryCommitNotifies: every append sends a notification, whether a tail
// has requested one or not.
func TestTorture_EveryCommitNotifies(t *testing.T) {
	let(t, torture{events: size(t) / 10, writers: 16, readers: 16, crashes: 2, prepare: `
		CREATE FUNCTION torture_notify() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF current_setting('outcrier.notify', true) IS DISTINCT FROM 'off' THEN
				PERFORM pg_notify('outcrier', coalesce(pg_sequence_last_value('outcrier.wake_request'), 0)::text);
			END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER torture_notify AFTER INSERT ON outcrier.event EXECUTE FUNCTION torture_notify()`})
}

// TestTorture_NoCommitNotifies: no append sends a notification, though the tails
// rely on them; the tails find the events when they poll.
func TestTorture_NoCommitNotifies(t *testing.T) {
	let(t, torture{events: size(t) / 10, writers: 16, readers: 16, crashes: 2, prepare: `
		CREATE OR REPLACE FUNCTION outcrier.notify(request bigint) RETURNS void LANGUAGE sql AS 'SELECT'`})
}

// torture is one run; let it begin.
type torture struct {
	events           int64
	writers, readers int
	crashes          int
	forged           bool
	// prepare, when not empty, is SQL that changes the schema before the run.
	prepare string
}

func let(t *testing.T, c torture) {
	alongside(t, "TORTURE_EVENTS")
	seed := seed(t)
	chance := rand.New(rand.NewPCG(seed, 0))
	server := startPostgres(t)
	url := server.URL("")
	execute(t, url, `CREATE TABLE torture_business (id bigint)`,
		`CREATE FUNCTION torture_append(topic text, payload json) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN INSERT INTO outbox (topic, type, payload) VALUES (topic, 'torture.happened', payload); END $$`)
	if c.forged {
		execute(t, url, `ALTER SEQUENCE outcrier.event_id CACHE 20`)
	}
	if c.prepare != "" {
		execute(t, url, c.prepare)
	}
	log := slog.New(slog.NewTextHandler(logFile(t), &slog.HandlerOptions{Level: slog.LevelInfo}))

	// One node reads often, the other lags.
	nodes := &cluster{}
	nodes.set(
		startNode(t, url, log.With("node", 0), &tail.Tail{Turn: 2 * time.Millisecond}),
		startNode(t, url, log.With("node", 1), &tail.Tail{Turn: 70 * time.Millisecond, IdleTurn: 300 * time.Millisecond}),
	)

	b := newBusiness(url)
	b.forged, b.plenty = c.forged, c.events
	b.enough.Store(math.MaxInt64) // until the faults have been there
	for i := range 40 {
		b.topics = append(b.topics, fmt.Sprintf("torture/%d/%d", i%8, i))
	}
	for i := range 12 {
		b.shared = append(b.shared, &chain{name: fmt.Sprintf("s%d", i)})
	}

	reading, stopReading := context.WithCancel(t.Context())
	defer stopReading()
	var steady atomic.Bool
	var readers []*reader
	var readersDone sync.WaitGroup
	startReader := func(i int, from string) {
		r := &reader{
			name: fmt.Sprintf("reader %d", i), filter: filterOf(i, b.topics, chance), from: from, nodes: func() []string { return urls(nodes.get()) },
			rand: rand.New(rand.NewPCG(seed, uint64(1000+i))), slow: i%5 == 1, longGone: i%7 == 2, steady: &steady, erasures: &b.erasures,
		}
		readers = append(readers, r)
		readersDone.Go(func() { r.run(reading) })
	}
	for i := range c.readers / 2 {
		startReader(i, "earliest")
	}

	began := time.Now()
	var writersDone sync.WaitGroup
	for i := range c.writers {
		writersDone.Go(func() { b.write(t.Context(), i, seed) })
	}
	wait := make(chan struct{})
	go func() { writersDone.Wait(); close(wait) }()
	// Which nodes have to read an erasure must not change until they have.
	var restarting sync.Mutex
	var erasing sync.WaitGroup
	erasing.Go(func() {
		chance := rand.New(rand.NewPCG(seed, 1<<32))
		for b.committed.Load() < b.enough.Load() {
			restarting.Lock()
			err := b.erase(t.Context(), chance, nodes.get())
			restarting.Unlock()
			if errors.Is(err, errUnread) || err != nil && !expected(err) {
				t.Error(err)
			}
			pause(t.Context(), time.Duration(chance.Int64N(int64(50*time.Millisecond))))
		}
	})

	// Meanwhile everything that can break breaks, by chance and at least twice: the writers
	// go on until it has.
	kills, crashed, restarts := 0, 0, 0
	kill := func() { kills += killSome(t.Context(), url, 1+chance.IntN(3)) }
	restart := func() {
		restarts++
		which := chance.IntN(2)
		restarting.Lock()
		defer restarting.Unlock()
		old := nodes.get()
		old[which].stop()
		fresh := startNode(t, url, log.With("node", 1+restarts), &tail.Tail{Turn: time.Duration(1+which*60) * time.Millisecond})
		nodes.set(old[1-which], fresh)
	}
	for writing := true; writing; {
		select {
		case <-wait:
			writing = false
			continue
		case <-time.After(50 * time.Millisecond):
		}
		done := b.committed.Load()
		due := func(times, of int) bool { return times < of && done > c.events*int64(times+1)/int64(of+1) }
		switch {
		case done >= c.events && (t.Failed() || crashed >= c.crashes && min(kills, restarts, b.erasures.least()) >= 2):
			b.enough.Store(c.events)
		case due(crashed, c.crashes):
			crashed++
			if err := server.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		case len(readers) < c.readers && done > c.events*int64(len(readers)-c.readers/2)/int64(c.readers):
			// From a snapshot of its own, amid everything in flight.
			if from, err := positionNow(t.Context(), url); err == nil {
				startReader(len(readers), from)
			}
		case due(kills, 2):
			kill()
		case due(restarts, 2):
			restart()
		case chance.IntN(3) == 0:
			_ = b.resolve(t.Context(), chance, false) // the server may be down
		case chance.IntN(3) == 0:
			kill()
		case chance.IntN(20) == 0:
			restart()
		}
	}
	erasing.Wait()
	if err := b.resolve(t.Context(), chance, true); err != nil {
		t.Fatal(err)
	}
	steady.Store(true)
	execute(t, url, `INSERT INTO outbox (topic, type) VALUES ('`+endTopic+`', 'torture.ended')`)
	// They may be far behind, and the machine slow: they have the time that they need, as
	// long as one of them gets on.
	caughtUp := make(chan struct{})
	go func() { readersDone.Wait(); close(caughtUp) }()
	received := time.Now()
	for waiting := true; waiting; {
		select {
		case <-caughtUp:
			waiting = false
		case <-time.After(time.Second):
			for _, r := range readers {
				if at := r.lastEventAt(); at.After(received) {
					received = at
				}
			}
			if time.Since(received) > time.Minute {
				stopReading()
			}
		}
	}

	rows := committed(t, url, b)
	given, resumes, keys := 0, 0, keysOf(t, url)
	for _, r := range readers {
		for _, fault := range r.check(keys, rows, !c.forged) {
			t.Error(fault)
		}
		given += r.count
		resumes += r.resumes
	}
	t.Logf("%d events committed in %.0f s by %d writers, %d erased and %d redacted, %d given to %d readers over %d resumes; %d crashes of Postgres, %d sessions killed, %d nodes restarted",
		len(rows), time.Since(began).Seconds(), c.writers, b.erasures.erased, b.erasures.redacted, given, len(readers), resumes, crashed, kills, restarts)
	if int64(len(rows)+b.erasures.erased) < c.events {
		t.Errorf("only %d events were committed, %d were wanted", len(rows), c.events)
	}
}

// cluster is the nodes that are up.
type cluster struct {
	mu    sync.Mutex
	nodes []*node
}

func (c *cluster) set(nodes ...*node) { c.mu.Lock(); defer c.mu.Unlock(); c.nodes = nodes }
func (c *cluster) get() []*node       { c.mu.Lock(); defer c.mu.Unlock(); return c.nodes }

// urls are where nodes serve.
func urls(nodes []*node) (list []string) {
	for _, n := range nodes {
		list = append(list, n.url)
	}
	return list
}

// filterOf makes filters of all kinds: everything, patterns, and exact topics.
func filterOf(i int, topics []string, r *rand.Rand) outbox.Filter {
	switch i % 4 {
	case 0:
		return outbox.Filter{Topics: []outbox.Pattern{"**"}}
	case 1:
		return outbox.Filter{Topics: []outbox.Pattern{outbox.Pattern(fmt.Sprintf("torture/%d/*", i%8)), "torture/*/7", "torture/3/**"}}
	}
	var f outbox.Filter
	for _, topic := range topics {
		if r.IntN(4) == 0 {
			f.Topics = append(f.Topics, outbox.Pattern(topic))
		}
	}
	f.Topics = append(f.Topics, outbox.Pattern(topics[0]))
	return f
}

// keysOf are the keys of the positions of a database.
func keysOf(t *testing.T, url string) *position.Keys {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	keys := new(position.Keys)
	if err := keys.Read(t.Context(), conn, outbox.DefaultSchema); err != nil {
		t.Fatal(err)
	}
	return keys
}

func positionNow(ctx context.Context, url string) (text string, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.Background())
	return text, conn.QueryRow(ctx, `SELECT outcrier.position()`).Scan(&text)
}

// killSome ends n sessions in whatever they do: writers, tails, replays.
func killSome(ctx context.Context, url string, n int) (killed int) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0
	}
	defer conn.Close(context.Background())
	_ = conn.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM (
		SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
		ORDER BY random() LIMIT $1) AS victims`, n).Scan(&killed)
	return killed
}

// committed reads the events from the table, and compares them with the commits that
// the writers saw confirmed. Erased events are not in it.
func committed(t *testing.T, url string, b *business) []row {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	result, err := conn.Query(t.Context(), `SELECT id, xid, topic, payload->>'k', (payload->>'n')::int FROM outcrier.event WHERE type = 'torture.happened'`)
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	stored := map[payload]bool{}
	for result.Next() {
		var r row
		var p payload
		if err := result.Scan(&r.id, &r.xid, &r.topic, &p.Chain, &p.N); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
		if stored[p] {
			t.Errorf("%s is stored twice", p)
		}
		stored[p] = true
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	for _, fault := range b.faults {
		t.Error(fault)
	}
	b.erasures.resolve(t, conn)
	for _, one := range b.erasures.byID {
		if one.gone {
			stored[one.payload] = true
		}
	}
	for p := range b.acknowledged {
		if !stored[p] {
			t.Errorf("%s was committed and is not there", p)
		}
	}
	for p := range b.refused {
		if stored[p] {
			t.Errorf("%s was rolled back and is there", p)
		}
	}
	return rows
}

// logFile keeps the nodes' logs of a run that failed, in TORTURE_LOG.
func logFile(t *testing.T) io.Writer {
	folder := os.Getenv("TORTURE_LOG")
	if folder == "" {
		return io.Discard
	}
	file, err := os.Create(filepath.Join(folder, t.Name()+".log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}
