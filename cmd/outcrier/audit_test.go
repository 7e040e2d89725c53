package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// publish puts records into the audit that are some days old.
const publishSQL = `INSERT INTO outcrier.publication (id, publisher, client_address, recorded_at)
SELECT id, 'shop', '192.0.2.1', clock_timestamp() - interval '3 days' FROM generate_series($1::bigint, $2::bigint) AS id`

func TestAudit_VerifySaysWhatWasAltered(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	call := func(args ...string) output {
		t.Helper()
		return runWith(t, []string{"DATABASE_URL=" + url}, append([]string{"audit", "verify"}, args...)...)
	}
	if got := call(); got.code != exitDone || !strings.HasPrefix(got.stdout, "0 days, 0 records") {
		t.Errorf("of an empty audit: %+v", got)
	}
	exec(publishSQL, 1, 10)
	if got := call(); !strings.HasPrefix(got.stdout, "0 days, 0 records") || !strings.Contains(got.stdout, "not verified: 10 records not in the chain yet, since ") {
		t.Errorf("before there is a chain: %+v", got)
	}
	exec(`SELECT outcrier.link_audit_days()`)
	got := call()
	if !strings.Contains(got.stdout, "\nnot verified: 0 records not in the chain yet; 0 streams open\n") {
		t.Errorf("with all in the chain: %+v", got)
	}
	head := regexp.MustCompile(`(?m)^head (\S+)$`).FindStringSubmatch(got.stdout)
	if got.code != exitDone || len(head) == 0 {
		t.Fatalf("%+v", got)
	}
	if got := call("--head", head[1]); got.code != exitDone {
		t.Errorf("with the head that was noted: %+v", got)
	}
	if got := call("--head", "2026-11-29:zz"); got.code != exitMistake || !strings.Contains(got.stderr, "--head") {
		t.Errorf("with a head that is none: %+v", got)
	}
	exec(`UPDATE outcrier.publication SET publisher = 'another' WHERE id = 5`)
	if got := call(); got.code != exitFailed || !strings.Contains(got.stdout, "some of its 10 records were altered\n") || !strings.Contains(got.stderr, "not as it was recorded") {
		t.Errorf("altered: %+v", got)
	}
	exec(`TRUNCATE outcrier.audit_day`)
	exec(`SELECT outcrier.link_audit_days()`)
	if got := call(); got.code != exitDone {
		t.Errorf("with a chain recomputed: %+v", got)
	}
	if got := call("--head", head[1]); got.code != exitFailed || !strings.Contains(got.stdout, "recomputed") {
		t.Errorf("with a chain recomputed, and the head: %+v", got)
	}
}

// Records that were not verified are counted, so that they don't pass for verified:
// they may have been altered unnoticed.
func TestAudit_VerifyCountsWhatIsNotInTheChainYet(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(publishSQL, 1, 10)
	exec(`SELECT outcrier.link_audit_days()`)
	// Two of now, one of before the chain, and two streams, one of which has ended.
	exec(`INSERT INTO outcrier.publication (id, publisher, client_address) VALUES (11, 'shop', ''), (12, 'shop', '')`)
	exec(`INSERT INTO outcrier.publication (id, publisher, client_address, recorded_at) VALUES (13, 'shop', '', '2020-02-02T20:20:20Z')`)
	exec(`INSERT INTO outcrier.stream (run, stream, node, subject, client_address, topics, types, history, from_position, from_set, position, position_set, position_at, events, opened_at, recorded_at)
		SELECT 1, n, 'a1', 'ann', '', '{a}', '{}', 1, '0.x', ROW('0', '{}', NULL, NULL, NULL)::outcrier.position_set, '0.x', ROW('0', '{}', NULL, NULL, NULL)::outcrier.position_set, now(), 0,
			'2021-03-03T21:21:21Z', CASE n WHEN 2 THEN clock_timestamp() END FROM generate_series(1, 2) AS n`)
	got := runWith(t, []string{"DATABASE_URL=" + url}, "audit", "verify")
	if !strings.Contains(got.stdout, "\nnot verified: 4 records not in the chain yet, since 2020-02-02T20:20:20Z; 1 stream open, since 2021-03-03T21:21:21Z\n") {
		t.Errorf("%+v", got)
	}
	exec(`UPDATE outcrier.publication SET publisher = 'another' WHERE id = 5`)
	got = runWith(t, []string{"DATABASE_URL=" + url}, "audit", "verify", "--json")
	var said map[string]any
	if err := json.Unmarshal([]byte(got.stdout), &said); err != nil || got.code != exitFailed {
		t.Fatalf("%+v: %v", got, err)
	}
	if faults, _ := said["faults"].([]any); len(faults) != 1 || !strings.HasPrefix(fmt.Sprint(said["head"]), "20") {
		t.Errorf("%s", got.stdout)
	}
	for name, want := range map[string]string{
		"records": "10", "removed_days": "0",
		"unchained":    "map[records:4 since:2020-02-02T20:20:20Z]",
		"open_streams": "map[records:1 since:2021-03-03T21:21:21Z]",
	} {
		if fmt.Sprint(said[name]) != want {
			t.Errorf("%s is %v, want %s", name, said[name], want)
		}
	}
}

func TestAudit_ExportGoesOnWhereItEnded(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	publish := func(first, last int) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), publishSQL, first, last); err != nil {
			t.Fatal(err)
		}
	}
	call := func(args ...string) output {
		t.Helper()
		got := runWith(t, []string{"DATABASE_URL=" + url}, append([]string{"audit", "export"}, args...)...)
		if got.code != exitDone {
			t.Fatalf("%q: %+v", args, got)
		}
		return got
	}
	keys := func(lines string) (keys, cursors []string) {
		t.Helper()
		for line := range strings.Lines(lines) {
			var record struct {
				Cursor, Kind, Key string
				Record            struct{ Publisher string }
			}
			if err := json.Unmarshal([]byte(line), &record); err != nil || record.Kind != "publication" || record.Record.Publisher != "shop" {
				t.Fatalf("%s: %v", line, err)
			}
			keys, cursors = append(keys, record.Key), append(cursors, record.Cursor)
		}
		return keys, cursors
	}
	publish(101, 120)
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	call("--output", file)
	call("--output", file)
	publish(121, 140)
	// A crash has cut the last line in two.
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(whole, `{"cursor":"20`...), 0o600); err != nil {
		t.Fatal(err)
	}
	call("--output", file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, cursors := keys(string(text))
	if len(got) != 40 || len(slices.Compact(slices.Sorted(slices.Values(got)))) != 40 {
		t.Errorf("in the file are %q", got)
	}
	if rest, _ := keys(call("--since", cursors[29]).stdout); !slices.Equal(rest, got[30:]) {
		t.Errorf("behind a cursor come %q, want %q", rest, got[30:])
	}
	if all, _ := keys(call("--since", "4d").stdout); !slices.Equal(all, got) {
		t.Errorf("of four days come %q", all)
	}
	if none, _ := keys(call("--since", "48h").stdout); len(none) > 0 {
		t.Errorf("of two days come %q", none)
	}
	if got := runWith(t, []string{"DATABASE_URL=" + url}, "audit", "export", "--since", "yesterday"); got.code != exitMistake || !strings.Contains(got.stderr, "--since") {
		t.Errorf("since yesterday: %+v", got)
	}
	if err := os.WriteFile(file, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := runWith(t, []string{"DATABASE_URL=" + url}, "audit", "export", "--output", file); got.code != exitFailed {
		t.Errorf("behind another's file: %+v", got)
	}
}
