package migrations_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// Rows that come into the table by another way than the view are history, and are never
// streamed as new, whatever xid they have and whatever the session has set.
func TestEvent_AForeignRowIsSettled(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	exec(t, conn, `INSERT INTO outbox (topic, type) VALUES ('own', 't')`)
	for i, insert := range []string{
		`INSERT INTO outcrier.event (xid, id, topic, type) VALUES ('0', 5001, 'f', 't')`,
		`INSERT INTO outcrier.event (xid, id, topic, type) VALUES ('9999999', 5002, 'f', 't')`,
		`INSERT INTO outcrier.event (xid, id, topic, type) SELECT xid, 5003, 'f', type FROM outcrier.event WHERE topic = 'own'`,
		`SET session_replication_role = replica; INSERT INTO outcrier.event (xid, id, topic, type) VALUES ('9999999', 5004, 'f', 't'); RESET session_replication_role`,
		`INSERT INTO outcrier.event_default (xid, id, topic, type, created_at) VALUES ('77', 5005, 'f', 't', '1990-01-01')`,
	} {
		exec(t, conn, insert)
		if got := list[string](t, conn, `SELECT xid::text FROM outcrier.event WHERE id = $1`, 5001+i); !slices.Equal(got, []string{"3"}) {
			t.Errorf("%s: xid %v", insert, got)
		}
	}
	if id := ask[int64](t, conn, `INSERT INTO outbox (topic, type) VALUES ('own', 't') RETURNING id`); id <= 5005 {
		t.Errorf("the next id is %d: it will come again", id)
	}
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.event WHERE topic = 'own' AND xid > '3'`); n != 2 {
		t.Errorf("%d of our own rows have their xid", n)
	}
	// A subscription applies the publisher's UPDATE, with the publisher's xid.
	exec(t, conn, `SET session_replication_role = replica; UPDATE outcrier.event SET xid = '848', payload = '{}' WHERE id = 5001; RESET session_replication_role`)
	if got := list[string](t, conn, `SELECT xid::text FROM outcrier.event WHERE id = 5001`); !slices.Equal(got, []string{"3"}) {
		t.Errorf("after an UPDATE: xid %v", got)
	}
	// The owner's plain INSERT into the table is a row of this transaction.
	exec(t, conn, `INSERT INTO outcrier.event (topic, type) VALUES ('own', 't')`)
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.event WHERE topic = 'own' AND xid > '3'`); n != 3 {
		t.Errorf("%d of our own rows have their xid", n)
	}
}

// A restored database is settled in pieces that commit, so that no statement runs for
// long, and its sequences move past its rows.
func TestSettle_InPieces(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	before := ask[int64](t, conn, `SELECT outcrier.settle()`)
	exec(t, conn, `INSERT INTO outbox (topic, type) SELECT 'a', 't' FROM generate_series(1, 2500)`)
	exec(t, conn, `UPDATE outcrier.history_id SET system_identifier = 1`)
	exec(t, conn, `ALTER SEQUENCE outcrier.event_id RESTART 1`)
	exec(t, conn, `SELECT setval('outcrier.wake_answer', 70)`)
	pieces := 0
	for list[*int64](t, conn, `SELECT outcrier.settle(1000)`)[0] == nil {
		if pieces++; pieces > 10 {
			t.Fatal("it does not end")
		}
		if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.event WHERE xid = '3'`); n != pieces*1000 {
			t.Errorf("after %d pieces %d rows are settled", pieces, n)
		}
	}
	if after := ask[int64](t, conn, `SELECT outcrier.settle()`); after == before || pieces != 2 {
		t.Errorf("history %d, before %d; %d pieces", after, before, pieces)
	}
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.event WHERE xid <> '3' OR topic = ''`); n != 0 {
		t.Errorf("%d rows are not settled, or markers", n)
	}
	if id := ask[int64](t, conn, `INSERT INTO outbox (topic, type) VALUES ('a', 't') RETURNING id`); id <= 2500 {
		t.Errorf("the next id is %d", id)
	}
	if n := ask[int64](t, conn, `SELECT nextval('outcrier.wake_request')`); n <= 70 {
		t.Errorf("the next request is %d: it is answered already", n)
	}
}
