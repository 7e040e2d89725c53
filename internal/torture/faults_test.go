package torture

import (
	"context"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/badnet"
	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/internal/testkit"
)

// fault is a failure after which history is unchanged: no event may be lost or come
// twice, and no gap may be reported.
type fault struct {
	name string
	// within is how long it may take, once the fault is over, until every reader has an
	// event that was appended afterwards.
	within time.Duration
	// do injects the fault, and returns when it is over.
	do func(f *field, server *pgserver.Server)
}

// faults are injected in an order of chance: all of them once, then any.
var faults = []fault{
	{"kill -9 of Postgres", 10 * time.Second, func(f *field, server *pgserver.Server) {
		must(f.t, server.Kill())
		must(f.t, server.Restart(f.t.Context()))
	}},
	{"restart of Postgres", 10 * time.Second, func(f *field, server *pgserver.Server) {
		must(f.t, server.Restart(f.t.Context()))
	}},
	{"tails terminated, LISTEN with them", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		// The last query of a tail is a read or the request for a wake-up, as a rule.
		f.terminate(`application_name = 'outcrier' AND query ~ 'pg_current_snapshot|wake_|LISTEN'`, 5)
	}},
	{"replays terminated", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		f.terminate(`application_name = 'outcrier' AND query !~ 'pg_current_snapshot|wake_|LISTEN'`, 5)
	}},
	{"writers terminated", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		f.terminate(`application_name <> 'outcrier'`, 3)
	}},
	{"database connections cut", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		f.some(f.database, func(n *badnet.Proxy) { n.Cut() })
	}},
	{"database away for a node", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		n := f.one(f.database)
		n.Down()
		f.pause(200*time.Millisecond, 2*time.Second)
		n.Heal()
	}},
	{"database answers cut in the middle", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		n := f.one(f.database)
		for range 5 {
			n.Truncate(badnet.Down, f.chance.IntN(4000))
			f.pause(20*time.Millisecond, 300*time.Millisecond)
		}
		n.Heal()
	}},
	{"database questions cut in the middle", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		n := f.one(f.database)
		n.Truncate(badnet.Up, f.chance.IntN(500))
		f.pause(100*time.Millisecond, time.Second)
		n.Heal()
	}},
	{"database slow", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		n := f.one(f.database)
		n.Delay(time.Duration(20+f.chance.IntN(200)) * time.Millisecond)
		f.pause(time.Second, 2*time.Second)
		n.Heal()
	}},
	{"database a black hole, healed", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		n := f.one(f.database)
		n.Hold(badnet.Both)
		f.pause(500*time.Millisecond, 2*time.Second)
		n.Heal()
	}},
	{"database half gone, then cut", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		n := f.one(f.database)
		n.Hold([]badnet.Direction{badnet.Up, badnet.Down}[f.chance.IntN(2)])
		f.pause(500*time.Millisecond, 2*time.Second)
		n.Cut()
		n.Heal()
	}},
	{"client connections cut", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		f.some(f.client, func(n *badnet.Proxy) { n.Cut() })
	}},
	{"client streams cut in the middle", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		n := f.one(f.client)
		for range 5 {
			n.Truncate(badnet.Down, 1+f.chance.IntN(20_000))
			f.pause(20*time.Millisecond, 300*time.Millisecond)
		}
		n.Heal()
	}},
	{"client network slow", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		n := f.one(f.client)
		n.Delay(time.Duration(20+f.chance.IntN(300)) * time.Millisecond)
		f.pause(500*time.Millisecond, 2*time.Second)
		n.Heal()
	}},
	{"client network a black hole", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		n := f.one(f.client)
		n.Hold([]badnet.Direction{badnet.Both, badnet.Up, badnet.Down}[f.chance.IntN(3)])
		f.pause(500*time.Millisecond, 3*time.Second)
		if f.chance.IntN(2) == 0 {
			n.Cut()
		}
		n.Heal()
	}},
	{"kill -9 of a node", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		n := f.nodes[f.chance.IntN(len(f.nodes))]
		n.kill()
		f.pause(0, time.Second)
		n.start()
	}},
	{"rolling restart", 5 * time.Second, func(f *field, _ *pgserver.Server) {
		for _, n := range shuffled(f.chance, f.nodes) {
			n.drain()
			n.start()
			testkit.Eventually(f.t, "a node is ready again", n.ready)
		}
	}},
	{"out of connections", 10 * time.Second, func(f *field, _ *pgserver.Server) {
		// Others take all places but those of superusers, and those that the
		// nodes then lose too.
		ctx, stop := context.WithCancel(f.t.Context())
		var hogs sync.WaitGroup
		var full atomic.Bool
		for range 4 {
			hogs.Go(func() {
				for held := []*pgx.Conn{}; ; {
					hog, err := connect(ctx, asNode(f.t, f.url))
					switch {
					case err == nil:
						held = append(held, hog)
					case ctx.Err() == nil:
						full.Store(true)
						pause(ctx, 20*time.Millisecond)
					}
					if ctx.Err() != nil {
						for _, hog := range held {
							_ = hog.Close(context.Background())
						}
						return
					}
				}
			})
		}
		testkit.Eventually(f.t, "no connection can be had", full.Load)
		f.terminate(`application_name = 'outcrier'`, 1000)
		f.pause(time.Second, 2*time.Second)
		stop()
		hogs.Wait()
	}},
}

// TestFaults injects every fault of the table while writers write and readers
// read, and then FAULTS more at random.
func TestFaults(t *testing.T) {
	alongside(t, "TORTURE_FAULTS")
	server := startPostgres(t)
	f := newField(t, server.URL(""), 2)
	f.prepare()
	f.write(6)
	f.read(10)
	f.recover("the start", testkit.Deadline)
	for _, fault := range shuffled(f.chance, faults) {
		f.suffer(fault.name, fault.within, func() { fault.do(f, server) })
	}
	for range number(t, "TORTURE_FAULTS", 0) {
		fault := faults[f.chance.IntN(len(faults))]
		f.suffer(fault.name, fault.within, func() { fault.do(f, server) })
		_ = f.business.resolve(t.Context(), f.chance, false)
	}
	f.end()
}

// alongside has a test run at the same time as others, unless a variable asks for more of it alone.
func alongside(t *testing.T, variable string) {
	if os.Getenv(variable) == "" {
		t.Parallel()
	}
}

func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *field) pause(least, most time.Duration) {
	pause(f.t.Context(), least+time.Duration(f.chance.Int64N(int64(most-least))))
}

// one is a network of chance, some calls do for one or all.
func (f *field) one(networks []*badnet.Proxy) *badnet.Proxy {
	return networks[f.chance.IntN(len(networks))]
}

func (f *field) some(networks []*badnet.Proxy, do func(*badnet.Proxy)) {
	if f.chance.IntN(2) == 0 {
		do(f.one(networks))
		return
	}
	for _, n := range networks {
		do(n)
	}
}

// terminate ends at most n sessions of those that a condition selects. After a crash
// of Postgres it can take a moment until there are any.
func (f *field) terminate(condition string, n int) {
	f.t.Helper()
	conn, err := connect(f.t.Context(), f.url)
	must(f.t, err)
	defer conn.Close(context.Background())
	testkit.Eventually(f.t, "there is somebody to terminate", func() bool {
		var ended int
		must(f.t, conn.QueryRow(f.t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM (
			SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND `+condition+`
			ORDER BY random() LIMIT $1) AS victims`, n).Scan(&ended))
		return ended > 0
	})
}
