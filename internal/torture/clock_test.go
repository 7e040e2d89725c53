package torture

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/internal/testkit"
)

// TestFault_ClockJumps: the clock of Postgres jumps, over midnights and back. The
// nodes' own can't be made to jump here: Go reads it past libfaketime. Nothing on
// the way of an event looks at it.
func TestFault_ClockJumps(t *testing.T) {
	t.Parallel()
	library := testkit.Program(t, "/usr/lib/*/faketime/libfaketime.so.1")
	clock := filepath.Join(testkit.Folder(t), "clock")
	set := func(offset string) { must(t, os.WriteFile(clock, []byte(offset+"\n"), 0o644)) }
	set("+0")
	server := startPostgresOf(t, pgserver.Config{Env: []string{
		"LD_PRELOAD=" + library, "FAKETIME_TIMESTAMP_FILE=" + clock, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1",
	}})
	f := newField(t, server.URL(""), 2, "--audit", "--replay-buffer", "64KiB")
	f.prepare()
	f.write(4)
	f.read(6)
	f.recover("the start", testkit.Deadline)
	jumps := []string{"+26h", "-26h", "+0"}
	if testkit.Long() {
		jumps = append([]string{"+2h", "-3h"}, jumps...)
	}
	for _, jump := range jumps {
		f.suffer("clock of Postgres jumps", 10*time.Second, func() {
			set(jump)
			f.pause(200*time.Millisecond, 500*time.Millisecond)
			conn, err := pgx.Connect(t.Context(), f.url)
			must(t, err)
			defer conn.Close(t.Context())
			var shown time.Time
			must(t, conn.QueryRow(t.Context(), `SELECT clock_timestamp()`).Scan(&shown))
			want := time.Duration(0)
			if jump != "+0" {
				want, err = time.ParseDuration(jump)
				must(t, err)
			}
			if off := time.Until(shown) - want; off.Abs() > time.Minute {
				t.Errorf("the clock of Postgres is at %v, want %v from now", shown, want)
			}
		})
	}
	// Who comes now has the events of all those times, of tomorrow too.
	fresh := &reader{name: "fresh", filter: everything(), steady: new(atomic.Bool)}
	f.follow(fresh, true)
	f.recover("a fresh reader", testkit.Deadline)
	f.end()
}
