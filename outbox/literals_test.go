package outbox_test

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// Postgres reads the literal as the texts that it was made of, whatever the session has
// set.
func TestArrayLiteral_IsReadAsItsTexts(t *testing.T) {
	url := outboxtest.URL(t)
	conn := sqltest.Connection(t, url)
	sqltest.Exec(t, conn, `SET array_nulls = off`)
	other := sqltest.Connection(t, url)
	check := func(t interface{ Fatalf(string, ...any) }, texts []string) {
		for _, c := range []sqltest.Querier{conn, other} {
			rows, err := c.Query(context.Background(), `SELECT u FROM unnest($1::text[]) WITH ORDINALITY AS a (u, n) ORDER BY n`, database.ArrayLiteral(texts))
			if err != nil {
				t.Fatalf("%q: %v", texts, err)
			}
			var got []string
			for rows.Next() {
				var text *string
				if err := rows.Scan(&text); err != nil || text == nil {
					t.Fatalf("%q: %v, %v", texts, text, err)
				}
				got = append(got, *text)
			}
			if rows.Err() != nil || !slices.Equal(got, texts) {
				t.Fatalf("%q is read as %q; %v", texts, got, rows.Err())
			}
		}
	}
	for _, texts := range [][]string{
		{""}, {"", ""}, {"NULL", "null", `"NULL"`}, {`"`, `\`, `\"`, `\\`, `""`, `\n`}, {"{", "}", "{}", ",", "a,b", "[1:2]={1,2}"}, {" a ", "\t\n\r"}, {"'", "''", `E'\x27'`},
		{"漢字 🎈", "größe", "\u0301", "\u2028"}, {`{"a": "b\"c\\d"}`}, {strings.Repeat(`\"`, 1000)},
	} {
		check(t, texts)
	}
	piece := rapid.SampledFrom([]string{`"`, `\`, "{", "}", ",", " ", "NULL", "a", "é", "漢", "\n", "'", "$1", "?"})
	rapid.Check(t, func(r *rapid.T) {
		check(r, rapid.SliceOfN(rapid.Custom(func(r *rapid.T) string {
			return strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(r, "pieces"), "")
		}), 1, 5).Draw(r, "texts"))
	})
}

// Some have something that others have not.
func TestAppendSQL_OfDraftsThatDiffer(t *testing.T) {
	url := outboxtest.URL(t)
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	at := time.Now().Add(time.Hour).Round(time.Microsecond)
	for _, setting := range []string{`SET array_nulls = on`, `SET array_nulls = off`, `SET "DateStyle" = 'German, DMY'`, `SET standard_conforming_strings = off`} {
		if _, err := conn.ExecContext(t.Context(), setting); err != nil {
			t.Fatal(err)
		}
		ids, err := outbox.AppendSQL(t.Context(), conn,
			outbox.Draft{Topic: "NULL", Type: "null", Payload: []byte(`"NULL"`)},
			outbox.Draft{Topic: "a", Type: "t", Headers: map[string]string{"k": `"\`}},
			outbox.Draft{Topic: "a", Type: "keyed", DedupKey: "NULL" + setting, Source: `\`},
			outbox.Draft{Topic: "a", Type: "later", DeliverAt: at})
		if err != nil || len(ids) != 4 {
			t.Fatalf("%s: %v, %v", setting, ids, err)
		}
		check := sqltest.Connection(t, url)
		got := sqltest.Ask[string](t, check, `SELECT concat_ws(' ', topic, type, payload::text, source, coalesce(headers::text, '-'), coalesce(left(dedup_key, 4), '-')) FROM outcrier.event WHERE id = ANY ($1) ORDER BY id`, ids)
		if want := []string{`NULL null "NULL" / - -`, `a t {} / {"k": "\"\\"} -`, `a keyed {} \ - NULL`}; !slices.Equal(got, want) {
			t.Errorf("%s: stored are\n%q, want\n%q", setting, got, want)
		}
		if due := sqltest.Ask1[time.Time](t, check, `SELECT deliver_at FROM outcrier.scheduled WHERE id = $1`, ids[3]); !due.Equal(at) {
			t.Errorf("%s: due at %v, want %v", setting, due, at)
		}
	}
}

// Go sends UTF-8. A session that takes it for something else would store other text, or
// none.
func TestAppend_RefusesASessionOfAnotherEncoding(t *testing.T) {
	url := outboxtest.URL(t)
	conn := sqltest.Connection(t, url)
	sqltest.Exec(t, conn, `SET client_encoding = LATIN1`)
	tx := sqltest.Begin(t, conn)
	if _, err := outbox.Append(t.Context(), tx, outbox.Draft{Topic: "é", Type: "t"}); err == nil || !strings.Contains(err.Error(), "client_encoding is LATIN1") {
		t.Errorf("%v", err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	session, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, err := session.ExecContext(t.Context(), `SET client_encoding = LATIN1`); err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.AppendSQL(t.Context(), session, outbox.Draft{Topic: "é", Type: "t"}); err == nil || !strings.Contains(err.Error(), "client_encoding is LATIN1") {
		t.Errorf("%v", err)
	}
	if n := sqltest.Ask1[int](t, sqltest.Connection(t, url), `SELECT count(*) FROM outcrier.event`); n != 0 {
		t.Errorf("%d are stored", n)
	}
}

// The caller's path and types are not ours: what an append calls is named in full.
func TestAppend_CallsNothingByTheCallersPath(t *testing.T) {
	url := outboxtest.URL(t)
	conn := sqltest.Connection(t, url)
	if _, err := conn.PgConn().Exec(t.Context(), evilSQL).ReadAll(); err != nil {
		t.Fatal(err)
	}
	sqltest.Exec(t, conn, `SET search_path = evil, pg_catalog`)
	tx := sqltest.Begin(t, conn)
	if _, err := outbox.Append(t.Context(), tx, outbox.Draft{Topic: "a", Type: "t", DedupKey: "k", DeliverAt: time.Now().Add(time.Hour)}, outbox.Draft{Topic: "a", Type: "t"}); err != nil {
		t.Error(err)
	}
}
