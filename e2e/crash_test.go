package e2e

import (
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
)

// TestDemo_KilledLeavesNoOrphanAndFindsItsEvents kills the demo, which can't take
// its private Postgres down any more, and starts it again on the same data.
func TestDemo_KilledLeavesNoOrphanAndFindsItsEvents(t *testing.T) {
	t.Parallel()
	s := start(t, "--data", testkit.Folder(t))
	db := connect(t, s.url())
	for i := range 3 {
		insert(t, db, "kept/"+strconv.Itoa(i), "a.kept", strconv.Itoa(i))
	}
	query := url.Values{"topic": {"kept/**"}, "from": {"earliest"}}
	read := func() (hello event, kept []event) {
		events := readGoSSE(t, []string{s.base + "/events?" + query.Encode()})(`"data":2}`)[0]
		hello = events[0]
		return hello, slices.DeleteFunc(events, func(e event) bool { return e.Type != "a.kept" })
	}
	_, before := read()

	var pid string
	if err := db.QueryRow(t.Context(), `SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(commandOf(pid), "postgres") {
		t.Fatalf("process %s is %q, want Postgres", pid, commandOf(pid))
	}
	s.kill()
	testkit.Eventually(t, "Postgres is gone", func() bool { return !strings.Contains(commandOf(pid), "postgres") })

	s.restart(t)
	held := rows(t, s.url(), "kept/%")
	if len(held) != 3 {
		t.Errorf("%d events are left, want 3", len(held))
	}
	_, after := read()
	compare(t, "what is held and what is streamed", expect(held, query), withoutPositions(after))
	compare(t, "the events before and after", withoutPositions(before), withoutPositions(after))

	// The second of them is a position that the new server goes on from.
	query.Set("last_event_id", before[1].ID)
	hello, resumed := read()
	if !strings.Contains(hello.Data, `"resumed":true`) {
		t.Errorf("after the second event the stream says %s, want resumed", hello.Data)
	}
	compare(t, "the third event and what is resumed", expect(held[2:], query), withoutPositions(resumed))
}

// commandOf is the command line of a process, empty when it is gone or a zombie.
func commandOf(pid string) string {
	if args, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil {
		return string(args)
	}
	args, _ := exec.Command("ps", "-p", pid, "-o", "args=").Output()
	return string(args)
}
