package migrations_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

const markers = `SELECT count(*) FROM outcrier.event WHERE topic = '' AND xid > '3' AND payload::text = '{}'
	AND id NOT IN (SELECT event_id FROM outcrier.erasure WHERE event_id IS NOT NULL)`

func TestErase_LeavesATombstoneAMarkerAndARecord(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	id := ask[int64](t, conn, `INSERT INTO outbox (topic, type, payload, source, headers, dedup_key)
		VALUES ('user/42', 'audit.approved', '{"name": "Ada"}', '/audit', '{"a": "b"}', 'k') RETURNING id`)
	exec(t, conn, `INSERT INTO outbox (topic, type) VALUES ('user/43', 't')`)
	anchor := ask[string](t, conn, `SELECT concat_ws(' ', xid, id, created_at) FROM outcrier.event WHERE topic = 'user/42'`)
	if n := ask[int64](t, conn, `SELECT outcrier.erase(1, 'article 17')`); n != 1 {
		t.Fatalf("erased are %d", n)
	}
	left := list[string](t, conn, `SELECT concat_ws(' ', xid, id, created_at) || '|' || concat_ws(' ', topic, type, payload::text, source, headers, dedup_key) FROM outcrier.event WHERE id = $1`, id)
	if want := anchor + "| outcrier.erased {} /"; !slices.Equal(left, []string{want}) {
		t.Errorf("left is %q, want %q", left, want)
	}
	if n := ask[int](t, conn, markers); n != 1 {
		t.Errorf("%d markers", n)
	}
	if got := list[string](t, conn, `SELECT concat_ws(' ', kind, event_id, events, reason, erased_by = session_user, erased_at > now() - interval '1 minute') FROM outcrier.erasure`); !slices.Equal(got, []string{"erase 1 1 article 17 t t"}) {
		t.Errorf("on record is %q", got)
	}
	if got := list[string](t, conn, `SELECT topic FROM outcrier.history`); !slices.Equal(got, []string{"user/43"}) {
		t.Errorf("the history has %v", got)
	}
	if n := ask[int64](t, conn, `SELECT outcrier.erase(1, 'again')`); n != 0 || ask[int](t, conn, markers) != 1 {
		t.Errorf("erased again are %d", n)
	}
	for _, bad := range []string{`SELECT outcrier.erase(2, '')`, `SELECT outcrier.erase(2, NULL)`, `SELECT outcrier.erase('', 'r')`, `SELECT outcrier.erase(NULL::bigint, 'r')`} {
		if _, err := conn.Exec(t.Context(), bad); code(err) != "22023" {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// A pattern that no stream could follow either is refused: what an erasure took too much can't be
// brought back, and one that takes nothing would be believed.
func TestErase_RefusesAPatternThatIsNone(t *testing.T) {
	conn := connect(t, outboxtest.URL(t))
	exec(t, conn, `INSERT INTO outbox (topic, type) VALUES ('user/42', 't'), ('user/43', 't')`)
	for _, text := range []string{
		"user/4*", "user/*2", "**/42", "user/**/a", "user**", "user/***", "/", "/user/42", "user/42/", "user//42", "user/42/**/", "*/", "a\tb", "a\u0085", strings.Repeat("a", 256), strings.Repeat("ä", 128),
		"**", "*", "*/*", "*/**", "user/**", "user/*", "user/*/a", "user/*/**", "user/42", "a b", "ü/日本", "a+(b)[c]", strings.Repeat("a", 255),
	} {
		_, want := outbox.ParsePattern(text)
		_, err := conn.Exec(t.Context(), `BEGIN`)
		if err == nil {
			_, err = conn.Exec(t.Context(), `SELECT outcrier.erase($1::text, 'r')`, text)
		}
		if want != nil && code(err) != "22023" || want == nil && err != nil {
			t.Errorf("%.20q: %v; a reader's pattern: %v", text, err, want)
		}
		exec(t, conn, `ROLLBACK`)
	}
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.history`); n != 2 {
		t.Errorf("%d events are left, want 2", n)
	}
}

func TestErase_ByPatternTakesWhatIsScheduledToo(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	exec(t, conn, `INSERT INTO outbox (topic, type, deliver_at) VALUES ('user/42', 't', NULL), ('user/42/a', 't', NULL), ('user/42/a/b', 't', NULL),
		('user/421', 't', NULL), ('user/4', 't', NULL), ('user', 't', NULL), ('team/42/a', 't', NULL),
		('user/42/later', 't', now() + interval '1 hour'), ('user/43/later', 't', now() + interval '1 hour')`)
	for _, one := range []struct {
		pattern string
		erased  int64
		left    []string
	}{
		{"user/42/*", 2, []string{"user/42", "user/42/a/b", "user/421", "user/4", "user", "team/42/a", "user/43/later"}},
		{"user/42/**", 2, []string{"user/421", "user/4", "user", "team/42/a", "user/43/later"}},
		{"*/42/a", 1, []string{"user/421", "user/4", "user", "user/43/later"}},
		{"user", 1, []string{"user/421", "user/4", "user/43/later"}},
		{"**", 3, nil},
		{"none/**", 0, nil},
	} {
		if n := ask[int64](t, conn, `SELECT outcrier.erase('`+one.pattern+`', 'r')`); n != one.erased {
			t.Errorf("%s erases %d, want %d", one.pattern, n, one.erased)
		}
		if left := list[string](t, conn, `SELECT topic FROM outcrier.event WHERE topic <> '' UNION ALL SELECT topic FROM outcrier.scheduled`); !slices.Equal(left, one.left) {
			t.Errorf("%s leaves %v, want %v", one.pattern, left, one.left)
		}
	}
}

func TestRedact_ReplacesThePayload(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	exec(t, conn, `INSERT INTO outbox (topic, type, payload, deliver_at) VALUES ('a', 't', '{"name": "Ada"}', NULL), ('b', 't', '{"name": "Bob"}', now() + interval '1 hour')`)
	for id, table := range map[string]string{"1": "event", "2": "scheduled"} {
		if !ask[bool](t, conn, `SELECT outcrier.redact(`+id+`, '{"name": null}', 'a slip')`) {
			t.Errorf("%s is not found", id)
		}
		if got := ask[string](t, conn, `SELECT payload::text FROM outcrier.`+table+` WHERE id = `+id); got != `{"name": null}` {
			t.Errorf("%s says %s", id, got)
		}
	}
	if n := ask[int](t, conn, markers); n != 1 {
		t.Errorf("%d markers", n)
	}
	if ask[bool](t, conn, `SELECT outcrier.redact(99, '{}', 'r')`) {
		t.Error("what is not there was redacted")
	}
	if _, err := conn.Exec(t.Context(), `SELECT outcrier.redact(1, to_json(repeat('x', 2000000)), 'r')`); code(err) != "23514" {
		t.Errorf("too large: %v", err)
	}
	exec(t, conn, `SELECT outcrier.erase(1, 'r')`)
	if ask[bool](t, conn, `SELECT outcrier.redact(1, '{"back": true}', 'r')`) {
		t.Error("a tombstone was redacted")
	}
}

// Nodes hold events in memory; a marker makes them forget it, whichever role changed
// the table.
func TestEvent_ChangesByHandLeaveAMarker(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	for _, change := range []string{
		`UPDATE outcrier.event SET payload = '{"by": "hand"}' WHERE topic = 'a'`,
		`DELETE FROM outcrier.event WHERE topic = 'a'`,
		`TRUNCATE outcrier.event`,
		`SELECT outcrier.reset()`,
		`SET session_replication_role = replica; DELETE FROM outcrier.event WHERE topic = 'a'; RESET session_replication_role`,
	} {
		exec(t, conn, `DELETE FROM outcrier.event`)
		exec(t, conn, `TRUNCATE ONLY outcrier.event_default`)
		exec(t, conn, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
		before := ask[int64](t, conn, `SELECT max(id) FROM outcrier.event`)
		exec(t, conn, change)
		if got := ask[bool](t, conn, `SELECT EXISTS (SELECT FROM outcrier.event WHERE topic = '' AND xid > '3' AND id > `+"(SELECT "+itoa(before)+"))"); !got {
			t.Errorf("no marker after %s", change)
		}
	}
}

func TestReset_BeginsANewHistory(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	exec(t, conn, `SELECT outcrier.settle()`)
	exec(t, conn, `INSERT INTO outbox (topic, type, dedup_key, deliver_at) VALUES ('a', 't', 'k', NULL), ('b', 't', 'l', now() + interval '1 hour')`)
	before := ask[int64](t, conn, `SELECT outcrier.settle()`)
	exec(t, conn, `SELECT outcrier.reset()`)
	if after := ask[int64](t, conn, `SELECT outcrier.settle()`); after == before {
		t.Error("the history goes on")
	}
	if n := ask[int](t, conn, `SELECT (SELECT count(*) FROM outcrier.history) + (SELECT count(*) FROM outcrier.scheduled) + (SELECT count(*) FROM outcrier.dedup)`); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.event WHERE type = 'outcrier.reset' AND topic = ''`); n != 1 {
		t.Errorf("%d reset markers", n)
	}
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.event_type`); n == 0 {
		t.Error("the catalogue is gone too")
	}
}
