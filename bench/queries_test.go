package main

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func TestQueryCounter_CountsStatements(t *testing.T) {
	q, err := newQueryCounter(t.Context(), outboxtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := q.close(); err != nil {
			t.Error(err)
		}
	}()
	conn, err := pgx.Connect(t.Context(), q.url())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if n := q.count(); n != 0 {
		t.Errorf("%d queries to connect, want none", n)
	}
	for range 3 {
		var n int
		if err := conn.QueryRow(t.Context(), `SELECT length($1)`, string(make([]byte, 0))).Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Exec(t.Context(), `BEGIN`); err != nil {
		t.Fatal(err)
	}
	var batch pgx.Batch
	batch.Queue(`SELECT 1`)
	batch.Queue(`COMMIT`)
	if err := conn.SendBatch(t.Context(), &batch).Close(); err != nil {
		t.Fatal(err)
	}
	if n := q.count(); n != 6 {
		t.Errorf("%d queries, want 6", n)
	}
}

func TestQueryCounter_IsOffForServersOfOthers(t *testing.T) {
	b := &bench{target: &target{}}
	q, why, err := b.countQueries(t.Context())
	if q != nil || why == "" || err != nil || q.count() != 0 {
		t.Errorf("counter %v, reason %q, error %v, want a reason alone", q, why, err)
	}
}
