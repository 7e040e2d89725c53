package torture

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/badnet"
	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
)

// copyOf makes a data folder from a running Postgres with pg_basebackup, for
// pgserver to start. primary is the URL that a standby is to follow; without, the
// folder is a backup.
func copyOf(t *testing.T, server *pgserver.Server, primary string) string {
	t.Helper()
	folder := testkit.Folder(t)
	cluster := filepath.Join(folder, "cluster")
	must(t, os.Mkdir(cluster, 0o711))
	from := primary
	if from == "" {
		from = server.URL("")
	}
	args := []string{"-D", filepath.Join(cluster, "data"), "-d", from, "-X", "stream", "-c", "fast"}
	if primary != "" {
		args = append(args, "-R")
	}
	if out, err := exec.Command(tool(t, server, "pg_basebackup"), args...).CombinedOutput(); err != nil {
		t.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	u, err := url.Parse(server.URL(""))
	must(t, err)
	password, _ := u.User.Password()
	must(t, os.WriteFile(filepath.Join(cluster, "password"), []byte(password+"\n"), 0o600))
	// It must belong to whom the first one runs as.
	owner := ownerOf(t, server)
	must(t, filepath.WalkDir(cluster, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	}))
	return folder
}

func ownerOf(t *testing.T, server *pgserver.Server) *syscall.Stat_t {
	t.Helper()
	info, err := os.Stat(filepath.Join(filepath.Dir(server.LogFile()), "cluster"))
	must(t, err)
	return info.Sys().(*syscall.Stat_t)
}

// withSettings are the settings and some more.
func withSettings(pairs ...string) map[string]string {
	all := map[string]string{}
	for name, value := range settings {
		all[name] = value
	}
	for pair := range slices.Chunk(pairs, 2) {
		all[pair[0]] = pair[1]
	}
	return all
}

// TestStandby_IsRefused: a hot standby's snapshots list no transactions in progress. A
// tail that read there would lose events in silence.
func TestStandby_IsRefused(t *testing.T) {
	t.Parallel()
	primary := startPostgres(t)
	standby := runPostgres(t, pgserver.Config{Data: copyOf(t, primary, primary.URL("")), Settings: withSettings()})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	follower := tail.Tail{URL: standby.URL(""), Log: slog.New(slog.DiscardHandler), Start: func(position.Position) { t.Error("it starts") }}
	done := make(chan error, 1)
	go func() { done <- follower.Run(ctx) }()
	wait(t, func() bool { return follower.Status().Err != nil })
	if status := follower.Status(); !errors.Is(status.Err, outbox.ErrStandby) || status.Following {
		t.Errorf("a tail on a standby says %+v, want %v", status, outbox.ErrStandby)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if _, err := (replay.Reader{Pool: outboxtest.Pool(t, standby.URL(""))}).Earliest(t.Context(), position.Position{}); !errors.Is(err, outbox.ErrStandby) {
		t.Errorf("a reader on a standby says %v, want %v", err, outbox.ErrStandby)
	}

	n := newProcess(t, standby.URL(""))
	testkit.Eventually(t, "the node has said why it is not ready", func() bool {
		log, _ := os.ReadFile(n.log)
		return strings.Contains(string(log), outbox.ErrStandby.Error())
	})
	if n.ready() {
		t.Error("a node on a standby says that it is ready")
	}

	// Of several hosts the primary is taken, wherever it stands in the list.
	both, err := url.Parse(standby.URL(""))
	must(t, err)
	both.Host += "," + hostOf(t, primary.URL(""))
	conn, err := outboxtest.Pool(t, both.String()).Acquire(t.Context())
	must(t, err)
	defer conn.Release()
	var recovering bool
	must(t, conn.QueryRow(t.Context(), `SELECT pg_is_in_recovery()`).Scan(&recovering))
	if recovering {
		t.Error("of two hosts the standby was taken")
	}
}

// TestFault_Failover: a standby takes over. First one that had everything: readers may
// notice no more than a pause. Then one that had not: readers that received a lost
// event must get a gap, and no others. And both once more where the old primary still
// answers on the connections that nodes have, as it does behind an address that was
// moved by hand, and only new ones lead to the new primary.
func TestFault_Failover(t *testing.T) {
	t.Parallel()
	for _, lossless := range []bool{true, false} {
		for _, beside := range []bool{false, true} {
			name := "failover, commits lost"
			if lossless {
				name = "failover, synchronous"
			}
			if beside {
				name += ", old primary up"
			}
			t.Run(strings.ReplaceAll(name, ", ", " "), func(t *testing.T) {
				t.Parallel()
				failover(t, name, lossless, beside)
			})
		}
	}
}

func failover(t *testing.T, name string, lossless, beside bool) {
	primary := startPostgres(t)
	// What all talk to, and what the standby follows.
	address := newNetwork(t, hostOf(t, primary.URL("")))
	replication := newNetwork(t, hostOf(t, primary.URL("")))
	f := newField(t, at(t, primary.URL(""), address.Address()), 2)
	f.prepare()
	within, networks := 15*time.Second, []*badnet.Proxy{address}
	if beside {
		within = 45 * time.Second
		for _, network := range f.database { // not by way of the address
			network.To(hostOf(t, primary.URL("")))
			network.Cut()
			networks = append(networks, network)
		}
	}
	standby := runPostgres(t, pgserver.Config{Data: copyOf(t, primary, through(t, primary.URL(""), replication)), Settings: withSettings()})
	if lossless {
		execute(t, f.url, `ALTER SYSTEM SET synchronous_standby_names = '*'`, `SELECT pg_reload_conf()`)
	}
	promote := func() {
		if !beside {
			must(t, primary.Kill())
		}
		execute(t, standby.URL(""), `SELECT pg_promote()`)
		for _, network := range networks {
			network.To(hostOf(t, standby.URL("")))
		}
		address.Cut() // writers have no other way
	}
	if lossless {
		f.write(4)
		f.read(6)
		f.recover("the start", testkit.Deadline)
		f.suffer(name, within, func() {
			f.pause(200*time.Millisecond, 700*time.Millisecond)
			promote()
		})
		f.end()
		return
	}
	f.loses(name, within, func() {
		testkit.Eventually(t, "the standby has what was committed", func() bool { return replayed(t, primary, standby) })
	}, func() {
		replication.Hold(badnet.Both)
	}, promote)
}

// TestReader_TakesAVerdictFromTheNewPrimary: a position that a reader has from a node
// on the new primary is no news from the future to one whose connections still lead to
// the old.
func TestReader_TakesAVerdictFromTheNewPrimary(t *testing.T) {
	t.Parallel()
	primary := startPostgres(t)
	address := newNetwork(t, hostOf(t, primary.URL("")))
	pool := outboxtest.Pool(t, at(t, primary.URL(""), address.Address()))
	reader := replay.Reader{Pool: pool}
	execute(t, primary.URL(""), `SELECT outcrier.settle()`, `INSERT INTO outbox (topic, type) VALUES ('a', 'x')`)
	at := func(url string) (p position.Position) {
		conn, err := pgx.Connect(t.Context(), url)
		must(t, err)
		defer conn.Close(context.Background())
		var keys position.Keys
		must(t, keys.Read(t.Context(), conn, outbox.DefaultSchema)) // which makes one
		var text string
		must(t, conn.QueryRow(t.Context(), `SELECT outcrier.position()`).Scan(&text))
		p, err = keys.Open(text)
		must(t, err)
		return p
	}
	w := at(primary.URL(""))
	if _, gap, err := reader.Verify(t.Context(), w, everything(), w); gap != nil || err != nil {
		t.Fatal(gap, err)
	}
	other := runPostgres(t, pgserver.Config{Data: copyOf(t, primary, ""), Settings: withSettings()})
	execute(t, other.URL(""), `INSERT INTO outbox (topic, type) VALUES ('a', 'y')`)
	ahead := at(other.URL(""))
	address.To(hostOf(t, other.URL("")))
	time.Sleep(2 * time.Second) // until the pool's connections are not young
	if _, gap, err := reader.Verify(t.Context(), ahead, everything(), w); gap != nil || err != nil {
		t.Errorf("a position of the new primary: %+v, %v", gap, err)
	}
	execute(t, primary.URL(""), `INSERT INTO outbox (topic, type) VALUES ('a', 'lost'), ('a', 'lost')`)
	lost := at(primary.URL(""))
	if _, gap, err := reader.Verify(t.Context(), lost, everything(), w); err != nil || gap == nil {
		t.Errorf("a position of the old one: %+v, %v", gap, err)
	}
}

// replayed reports whether a standby has all that its primary has.
func replayed(t *testing.T, primary, standby *pgserver.Server) (all bool) {
	t.Helper()
	var lsn string
	ask := func(url, query string, answer any, args ...any) {
		conn, err := pgx.Connect(t.Context(), url)
		must(t, err)
		defer conn.Close(context.Background())
		must(t, conn.QueryRow(t.Context(), query, args...).Scan(answer))
	}
	ask(primary.URL(""), `SELECT pg_current_wal_insert_lsn()::text`, &lsn)
	ask(standby.URL(""), `SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)`, &all, lsn)
	return all
}

// loses goes through a loss of the newest commits: kept makes sure that everything up
// to now is kept, fork that nothing is from now on, and lose goes back to that moment.
//
// Readers that received a lost event must get a gap for another history. One that has
// only kept events, and one that comes for the first time, must get none, and miss
// nothing.
func (f *field) loses(name string, within time.Duration, kept, fork, lose func()) {
	f.t.Helper()
	f.lossy = true
	f.write(4)
	f.read(6)
	absent := &reader{name: "absent", filter: everything(), steady: new(atomic.Bool)}
	f.follow(absent, true)
	f.recover("the start", testkit.Deadline)
	absent.leave()
	absent.steady.Store(false)
	for i, r := range f.readers {
		if i%2 == 1 {
			r.steady.Store(true) // a reader that is always connected has received the lost events
		}
	}
	f.recover("before the fork", testkit.Deadline)
	kept()
	fork()
	f.recover("what is lost", testkit.Deadline)
	var witnesses []*reader
	for _, r := range f.readers {
		if r != absent {
			witnesses = append(witnesses, r)
		}
		if r != absent || f.anew {
			r.forgiving.Store(true)
		}
	}
	f.suffer(name, within, func() {
		f.pause(300*time.Millisecond, 800*time.Millisecond)
		lose()
	})
	absent.comeBack()
	absent.steady.Store(true)
	fresh := &reader{name: "fresh", filter: everything(), steady: new(atomic.Bool)}
	f.follow(fresh, true)
	f.recover("the return of the absent", testkit.Deadline)
	f.end()
	for _, r := range witnesses {
		told := r.told()
		if len(told) == 0 {
			f.t.Errorf("%s was given events that are lost, and not told so", r.name)
		}
		for _, reason := range told {
			if reason != string(position.OtherHistory) && reason != string(position.Ahead) {
				f.t.Errorf("%s was told of a gap with reason %q", r.name, reason)
			}
		}
	}
}
