package outbox_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// appendBoth runs fn with both ways to append, each on a database of its own.
func appendBoth(t *testing.T, fn func(t *testing.T, db *pgx.Conn, add func(commit bool, drafts ...outbox.Draft) ([]int64, error))) {
	t.Run("pgx", func(t *testing.T) {
		url := outboxtest.URL(t)
		conn := sqltest.Connection(t, url)
		fn(t, sqltest.Connection(t, url), func(commit bool, drafts ...outbox.Draft) ([]int64, error) {
			tx := sqltest.Begin(t, conn)
			ids, err := outbox.Append(t.Context(), tx, drafts...)
			if err == nil && commit {
				return ids, tx.Commit(t.Context())
			}
			return ids, errors.Join(err, tx.Rollback(t.Context()))
		})
	})
	t.Run("database/sql", func(t *testing.T) {
		url := outboxtest.URL(t)
		db, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		fn(t, sqltest.Connection(t, url), func(commit bool, drafts ...outbox.Draft) ([]int64, error) {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			ids, err := outbox.AppendSQL(t.Context(), tx, drafts...)
			if err == nil && commit {
				return ids, tx.Commit()
			}
			return ids, errors.Join(err, tx.Rollback())
		})
	})
}

func TestAppend_StoresDraftsInTheirOrder(t *testing.T) {
	appendBoth(t, func(t *testing.T, db *pgx.Conn, add func(bool, ...outbox.Draft) ([]int64, error)) {
		drafts := []outbox.Draft{
			{Topic: "user/1", Type: "a"},
			{Topic: "user/2", Type: "b", Payload: json.RawMessage("{ \"n\":1.0,\n\t\"n\":\"\\u0000é\" }"), Source: "/audit"},
			{Topic: "user/3", Type: "c", Payload: []byte(`[1e400]`), Headers: map[string]string{"traceparent": "00-é\"\\"}},
			{Topic: "user/4", Type: "d", Payload: map[string]int{"n": 7}},
			{Topic: "user/5", Type: "e", Payload: "text"},
		}
		ids, err := add(true, drafts...)
		if err != nil || len(ids) != len(drafts) || !slices.IsSorted(ids) {
			t.Fatalf("%v, %v", ids, err)
		}
		if got := sqltest.Ask[int64](t, db, `SELECT id FROM outcrier.event ORDER BY topic`); !slices.Equal(got, ids) {
			t.Errorf("by topic they have ids %v, returned were %v", got, ids)
		}
		want := []string{
			"user/1 a {} / ", "user/2 b { \"n\":1.0,\n\t\"n\":\"\\u0000é\" } /audit ",
			`user/3 c [1e400] / {"traceparent": "00-é\"\\"}`, `user/4 d {"n":7} / `, `user/5 e "text" / `,
		}
		got := sqltest.Ask[string](t, db, `SELECT concat_ws(' ', topic, type, payload::text, source, coalesce(headers::text, '')) FROM outcrier.event ORDER BY id`)
		if !slices.Equal(got, want) {
			t.Errorf("stored are\n%q, want\n%q", got, want)
		}
		if n := sqltest.Ask1[int](t, db, `SELECT count(DISTINCT xid) FROM outcrier.event`); n != 1 {
			t.Errorf("of %d transactions", n)
		}
	})
}

func TestAppend_ExistsOnlyWhenTheTransactionCommits(t *testing.T) {
	appendBoth(t, func(t *testing.T, db *pgx.Conn, add func(bool, ...outbox.Draft) ([]int64, error)) {
		later := outbox.Draft{Topic: "a", Type: "b", DeliverAt: time.Now().Add(time.Hour)}
		keyed := outbox.Draft{Topic: "a", Type: "b", DedupKey: "k"}
		if ids, err := add(false, outbox.Draft{Topic: "a", Type: "b"}, later, keyed); err != nil || len(ids) != 3 {
			t.Fatalf("%v, %v", ids, err)
		}
		if n := sqltest.Ask1[int](t, db, `SELECT (SELECT count(*) FROM outcrier.event) + (SELECT count(*) FROM outcrier.scheduled) + (SELECT count(*) FROM outcrier.dedup)`); n != 0 {
			t.Errorf("a rollback left %d rows", n)
		}
		if ids, err := add(true); err != nil || len(ids) != 0 {
			t.Errorf("no drafts: %v, %v", ids, err)
		}
	})
}

func TestAppend_SameKeyIsStoredOnce(t *testing.T) {
	appendBoth(t, func(t *testing.T, db *pgx.Conn, add func(bool, ...outbox.Draft) ([]int64, error)) {
		keyed := outbox.Draft{Topic: "a", Type: "b", DedupKey: "k"}
		first, err := add(true, keyed)
		if err != nil {
			t.Fatal(err)
		}
		retry := keyed
		retry.Payload = []byte(`{"built":"again"}`)
		ids, err := add(true, outbox.Draft{Topic: "a", Type: "c"}, keyed, retry)
		if err != nil || ids[1] != first[0] || ids[2] != first[0] || ids[0] <= first[0] {
			t.Errorf("ids %v after %v, %v", ids, first, err)
		}
		if got := sqltest.Ask[string](t, db, `SELECT type FROM outcrier.event ORDER BY id`); !slices.Equal(got, []string{"b", "c"}) {
			t.Errorf("stored are %v", got)
		}
	})
}

// A key that somebody else used would swallow the event.
func TestAppend_KeyOfAnotherTopicOrTypeIsRefused(t *testing.T) {
	appendBoth(t, func(t *testing.T, db *pgx.Conn, add func(bool, ...outbox.Draft) ([]int64, error)) {
		if _, err := add(true, outbox.Draft{Topic: "a", Type: "b", DedupKey: "k"}); err != nil {
			t.Fatal(err)
		}
		for _, other := range []outbox.Draft{{Topic: "other", Type: "b", DedupKey: "k"}, {Topic: "a", Type: "other", DedupKey: "k"}} {
			_, err := add(true, other)
			wantRefused(t, err, "23505", "outbox_dedup_key", "another topic or type")
		}
	})
}

func TestAppend_SameKeyAtOnceIsStoredOnce(t *testing.T) {
	pool := outboxtest.New(t)
	const writers = 8
	ids := make([]int64, writers)
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
				got, err := outbox.Append(t.Context(), tx, outbox.Draft{Topic: "a", Type: "b", DedupKey: "k"})
				if err == nil {
					ids[i] = got[0]
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if stored := sqltest.Ask1[int64](t, pool, `SELECT id FROM outcrier.event`); slices.Min(ids) != stored || slices.Max(ids) != stored {
		t.Errorf("stored is %d, returned were %v", stored, ids)
	}
}

// While the first with a key is in flight, the second waits for its outcome.
func TestAppend_KeyOfARolledBackAppendIsFree(t *testing.T) {
	pool := outboxtest.New(t)
	first, second := sqltest.Begin(t, pool), sqltest.Begin(t, pool)
	keyed := outbox.Draft{Topic: "a", Type: "b", DedupKey: "k"}
	gone, err := outbox.Append(t.Context(), first, keyed)
	if err != nil {
		t.Fatal(err)
	}
	pid := sqltest.Ask1[int](t, second, `SELECT pg_backend_pid()`)
	done := make(chan []int64)
	go func() {
		ids, err := outbox.Append(t.Context(), second, keyed)
		if err != nil {
			t.Error(err)
		}
		done <- ids
	}()
	testkit.Eventually(t, "the second waits for the first", func() bool {
		return sqltest.Ask1[bool](t, pool, `SELECT cardinality(pg_blocking_pids($1)) > 0`, pid)
	})
	if err := first.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ids := <-done; len(ids) != 1 || ids[0] == gone[0] {
		t.Errorf("ids %v, rolled back %v", ids, gone)
	}
}

// refusals are drafts outside the limits, with what Postgres must say.
var refusals = map[string]struct {
	draft      outbox.Draft
	code       string
	constraint string
	says       string
}{
	"topic empty":                  {outbox.Draft{Type: "t"}, "23514", "outbox_topic", "1 to 255 bytes"},
	"topic of 256 bytes":           {outbox.Draft{Topic: strings.Repeat("a", 256), Type: "t"}, "23514", "outbox_topic", "1 to 255 bytes"},
	"topic of 128 wide characters": {outbox.Draft{Topic: strings.Repeat("é", 128), Type: "t"}, "23514", "outbox_topic", "1 to 255 bytes"},
	"topic with a slash in front":  {outbox.Draft{Topic: "/a", Type: "t"}, "23514", "outbox_topic", "none empty"},
	"topic with a slash behind":    {outbox.Draft{Topic: "a/", Type: "t"}, "23514", "outbox_topic", "none empty"},
	"topic with an empty segment":  {outbox.Draft{Topic: "a//b", Type: "t"}, "23514", "outbox_topic", "none empty"},
	"topic with a star":            {outbox.Draft{Topic: "a/*", Type: "t"}, "23514", "outbox_topic", `"*"`},
	"topic with a star within":     {outbox.Draft{Topic: "a*b", Type: "t"}, "23514", "outbox_topic", `"*"`},
	"topic with LF":                {outbox.Draft{Topic: "a\nb", Type: "t"}, "23514", "outbox_topic", "control characters"},
	"topic with LF behind":         {outbox.Draft{Topic: "a\n", Type: "t"}, "23514", "outbox_topic", "control characters"},
	"topic with CR":                {outbox.Draft{Topic: "a\rb", Type: "t"}, "23514", "outbox_topic", "control characters"},
	"topic with DEL":               {outbox.Draft{Topic: "a\x7f", Type: "t"}, "23514", "outbox_topic", "control characters"},
	"topic with C1":                {outbox.Draft{Topic: "a\u0085b", Type: "t"}, "23514", "outbox_topic", "control characters"},
	"topic with NUL":               {outbox.Draft{Topic: "a\x00b", Type: "t"}, "22021", "", "invalid byte sequence"},
	"topic not UTF-8":              {outbox.Draft{Topic: "a\xff", Type: "t"}, "22021", "", "invalid byte sequence"},
	"type empty":                   {outbox.Draft{Topic: "a"}, "23514", "outbox_type", "1 to 255 bytes"},
	"type of 256 bytes":            {outbox.Draft{Topic: "a", Type: strings.Repeat("t", 256)}, "23514", "outbox_type", "1 to 255 bytes"},
	"type with LF":                 {outbox.Draft{Topic: "a", Type: "t\ndata: forged"}, "23514", "outbox_type", "control characters"},
	"type with CR":                 {outbox.Draft{Topic: "a", Type: "t\rid: 7"}, "23514", "outbox_type", "control characters"},
	"type with C1":                 {outbox.Draft{Topic: "a", Type: "\u009ft"}, "23514", "outbox_type", "control characters"},
	"type with NUL":                {outbox.Draft{Topic: "a", Type: "\x00"}, "22021", "", "invalid byte sequence"},
	"type of the server's own":     {outbox.Draft{Topic: "a", Type: "outcrier.hello"}, "23514", "outbox_type", `"outcrier."`},
	"payload no JSON":              {outbox.Draft{Topic: "a", Type: "t", Payload: []byte(`{"a":`)}, "22P02", "", "json"},
	"payload empty":                {outbox.Draft{Topic: "a", Type: "t", Payload: []byte(``)}, "22P02", "", "json"},
	"payload two values":           {outbox.Draft{Topic: "a", Type: "t", Payload: []byte(`{} {}`)}, "22P02", "", "json"},
	"payload not UTF-8":            {outbox.Draft{Topic: "a", Type: "t", Payload: []byte("\"\xff\"")}, "22021", "", "invalid byte sequence"},
	"payload with NUL":             {outbox.Draft{Topic: "a", Type: "t", Payload: []byte("\"\x00\"")}, "22021", "", "invalid byte sequence"},
	"payload a byte too long":      {outbox.Draft{Topic: "a", Type: "t", Payload: payload(1<<20 + 1)}, "23514", "outbox_payload", "1048577 bytes"},
	"source of 256 bytes":          {outbox.Draft{Topic: "a", Type: "t", Source: strings.Repeat("s", 256)}, "23514", "outbox_source", "1 to 255 bytes"},
	"source with LF":               {outbox.Draft{Topic: "a", Type: "t", Source: "/\n"}, "23514", "outbox_source", "control characters"},
	"headers too long":             {outbox.Draft{Topic: "a", Type: "t", Headers: map[string]string{"h": strings.Repeat("h", 16384)}}, "23514", "outbox_headers", "16384 bytes"},
	"headers with NUL":             {outbox.Draft{Topic: "a", Type: "t", Headers: map[string]string{"h": "\x00"}}, "22P05", "", "Unicode"},
	"dedup key of 256 bytes":       {outbox.Draft{Topic: "a", Type: "t", DedupKey: strings.Repeat("k", 256)}, "23514", "outbox_dedup_key", "at most 255 bytes"},
	"scheduled with an empty type": {outbox.Draft{Topic: "a", DeliverAt: time.Now().Add(time.Hour)}, "23514", "outbox_type", "1 to 255 bytes"},
	"scheduled, a byte too long":   {outbox.Draft{Topic: "a", Type: "t", Payload: payload(1<<20 + 1), DeliverAt: time.Now().Add(time.Hour)}, "23514", "outbox_payload", "at most 1048576"},
}

// payload is JSON of so many bytes.
func payload(size int) json.RawMessage {
	return json.RawMessage(`"` + strings.Repeat("p", size-2) + `"`)
}

// wantRefused checks what err says.
func wantRefused(t *testing.T, err error, code, constraint, says string) {
	t.Helper()
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		t.Errorf("got %v, want SQLSTATE %s", err, code)
		return
	}
	if pg.Code != code || pg.ConstraintName != constraint || !strings.Contains(pg.Message, says) {
		t.Errorf("got SQLSTATE %s of %q: %.200s; want %s of %q with %q", pg.Code, pg.ConstraintName, pg.Message, code, constraint, says)
	}
	if reason, refused := outbox.Refused(err); !refused || !strings.Contains(reason, says) {
		t.Errorf("Refused says %v, %q", refused, reason)
	}
	if strings.Contains(pg.Message, "violates check constraint") {
		t.Errorf("the message says nothing to people: %s", pg.Message)
	}
}

func TestAppend_RefusalSaysWhatIsAllowedAndFailsTheTransaction(t *testing.T) {
	appendBoth(t, func(t *testing.T, db *pgx.Conn, add func(bool, ...outbox.Draft) ([]int64, error)) {
		for name, test := range refusals {
			t.Run(name, func(t *testing.T) {
				_, err := add(true, outbox.Draft{Topic: "good", Type: "good"}, test.draft)
				wantRefused(t, err, test.code, test.constraint, test.says)
			})
		}
		if n := sqltest.Ask1[int](t, db, `SELECT (SELECT count(*) FROM outcrier.event) + (SELECT count(*) FROM outcrier.scheduled)`); n != 0 {
			t.Errorf("%d rows are stored", n)
		}
	})
}

func TestAppend_FailedStatementFailsTheTransaction(t *testing.T) {
	pool := outboxtest.New(t)
	tx := sqltest.Begin(t, pool)
	sqltest.Add(t, tx, "good")
	if _, err := outbox.Append(t.Context(), tx, outbox.Draft{Topic: "bad//topic", Type: "t"}); err == nil {
		t.Fatal("it was taken")
	}
	if err := tx.Commit(t.Context()); !errors.Is(err, pgx.ErrTxCommitRollback) {
		t.Errorf("commit: %v", err)
	}
	if _, err := outbox.Append(t.Context(), sqltest.Begin(t, pool), outbox.Draft{Topic: "a", Type: "t", Payload: func() {}}); err == nil || !strings.Contains(err.Error(), "payload") {
		t.Errorf("what can't be marshalled: %v", err)
	}
}

func TestInsert_IsHeldToTheSameRules(t *testing.T) {
	pool := outboxtest.New(t)
	for name, test := range refusals {
		t.Run(name, func(t *testing.T) {
			d := test.draft
			var headers, key *string
			if d.Headers != nil {
				encoded, err := json.Marshal(d.Headers)
				if err != nil {
					t.Fatal(err)
				}
				text := string(encoded)
				headers = &text
			}
			if d.DedupKey != "" {
				key = &d.DedupKey
			}
			if d.Source == "" {
				d.Source = "/"
			}
			var body []byte
			switch p := d.Payload.(type) {
			case nil:
				body = []byte("{}")
			case []byte:
				body = p
			case json.RawMessage:
				body = p
			}
			_, err := pool.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload, source, headers, dedup_key)
				VALUES ($1, $2, $3::text::json, $4, $5::text::jsonb, $6)`, d.Topic, d.Type, string(body), d.Source, headers, key)
			wantRefused(t, err, test.code, test.constraint, test.says)
		})
	}
	for name, test := range map[string]struct{ sql, code, constraint, says string }{
		"no topic":             {`INSERT INTO outbox (type) VALUES ('t')`, "23514", "outbox_topic", "1 to 255 bytes"},
		"no type":              {`INSERT INTO outbox (topic) VALUES ('a')`, "23514", "outbox_type", "1 to 255 bytes"},
		"headers a string":     {`INSERT INTO outbox (topic, type, headers) VALUES ('a', 't', '"h"')`, "23514", "outbox_headers", "values are all strings"},
		"headers an array":     {`INSERT INTO outbox (topic, type, headers) VALUES ('a', 't', '["h"]')`, "23514", "outbox_headers", "values are all strings"},
		"headers with numbers": {`INSERT INTO outbox (topic, type, headers) VALUES ('a', 't', '{"h":1}')`, "23514", "outbox_headers", "values are all strings"},
		"headers with null":    {`INSERT INTO outbox (topic, type, headers) VALUES ('a', 't', '{"h":null}')`, "23514", "outbox_headers", "values are all strings"},
		"headers nested":       {`INSERT INTO outbox (topic, type, headers) VALUES ('a', 't', '{"h":{}}')`, "23514", "outbox_headers", "values are all strings"},
		"headers with a list":  {`INSERT INTO outbox (topic, type, headers) VALUES ('a', 't', '{"h":["x"]}')`, "23514", "outbox_headers", "values are all strings"},
		"no end of time":       {`INSERT INTO outbox (topic, type, deliver_at) VALUES ('a', 't', 'infinity')`, "23514", "outbox_deliver_at", "100 years"},
		"the year 10000":       {`INSERT INTO outbox (topic, type, deliver_at) VALUES ('a', 't', '10000-01-01Z')`, "23514", "outbox_deliver_at", "100 years"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pool.Exec(t.Context(), test.sql)
			wantRefused(t, err, test.code, test.constraint, test.says)
		})
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event`); n != 0 {
		t.Errorf("%d rows are stored", n)
	}
}

func TestAppend_TakesWhatIsJustAllowed(t *testing.T) {
	pool := outboxtest.New(t)
	for name, draft := range map[string]outbox.Draft{
		"the longest of all":     {Topic: strings.Repeat("a", 255), Type: strings.Repeat("t", 255), Source: strings.Repeat("s", 255), DedupKey: strings.Repeat("k", 255)},
		"a payload at the limit": {Topic: "a", Type: "t", Payload: payload(1 << 20)},
		"any other characters":   {Topic: "a b/é/日本\u00a0/\u2028.$(", Type: "größe geändert!*", Source: "urn:ü"},
		"a type like ours":       {Topic: "a", Type: "outcrier"},
		"no headers in headers":  {Topic: "a", Type: "t", Headers: map[string]string{}},
		"a payload of null":      {Topic: "a", Type: "t", Payload: json.RawMessage("null")},
	} {
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := outbox.Append(t.Context(), tx, draft)
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefused_LeavesOtherFailuresAlone(t *testing.T) {
	pool := outboxtest.New(t)
	ended, cancel := context.WithCancel(t.Context())
	tx := sqltest.Begin(t, pool)
	cancel()
	_, err := outbox.Append(ended, tx, outbox.Draft{Topic: "a", Type: "t"})
	if reason, refused := outbox.Refused(err); err == nil || refused {
		t.Errorf("%v is refused: %q", err, reason)
	}
}
