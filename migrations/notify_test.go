package migrations_test

import (
	"context"
	"testing"
	"time"
)

// heard reports whether the statements, run one by one by a session of their own, notify
// a listener while a tail has requested it.
func heard(t *testing.T, g guarded, address string, statements ...string) bool {
	t.Helper()
	listener, writer := connect(t, g.address), connect(t, address)
	exec(t, listener, `LISTEN outcrier`)
	exec(t, g.admin, `SELECT nextval('outcrier.wake_request')`)
	for _, statement := range statements {
		exec(t, writer, statement)
	}
	// A notification of our own comes after theirs.
	exec(t, g.admin, `NOTIFY outcrier, 'the end'`)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		got, err := listener.WaitForNotification(ctx)
		cancel()
		switch {
		case err != nil:
			t.Fatal(err)
		case got.Payload == "the end":
			return false
		default:
			return true
		}
	}
}

const insert = `INSERT INTO outbox (topic, type) VALUES ('a', 't')`

func TestNotify_OnlyWhileItIsRequested(t *testing.T) {
	t.Parallel()
	g := guard(t)
	for name, statement := range map[string]string{
		"INSERT": insert, "with a key": `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'k')`,
		"scheduled": `INSERT INTO outbox (topic, type, deliver_at) VALUES ('a', 't', now() + interval '1 hour')`,
		"append":    `SELECT outcrier.append('a', 't')`, "append_all": `SELECT outcrier.append_all(ARRAY['a'], ARRAY['t'], NULL::json[])`,
	} {
		if !heard(t, g, g.writer, statement) {
			t.Errorf("%s: a sleeping tail is not woken", name)
		}
	}
	for _, statement := range []string{`SELECT outcrier.erase('a', 'r')`, `UPDATE outcrier.event SET payload = '{}'`, `SELECT outcrier.reset()`} {
		if !heard(t, g, g.owner, statement) {
			t.Errorf("%s: a sleeping tail is not woken", statement)
		}
	}
	// Answered: no session waits.
	if heard(t, g, g.writer, `SELECT 1`, `RESET ALL`) {
		t.Error("there was a notification of nothing")
	}
	exec(t, g.admin, `SELECT setval('outcrier.wake_answer', nextval('outcrier.wake_request') + 1)`)
	if heard(t, g, g.writer, insert) {
		t.Error("a writer notifies although the request is answered")
	}
}

// NOTIFY makes PREPARE TRANSACTION fail, so sessions that use it don't notify.
func TestNotify_TwoPhaseCommitWorksBesideAnIdleNode(t *testing.T) {
	t.Parallel()
	g := guard(t)
	prepare := func(address string, before ...string) error {
		conn := connect(t, address)
		exec(t, g.admin, `SELECT nextval('outcrier.wake_request')`)
		for _, statement := range before {
			exec(t, conn, statement)
		}
		exec(t, conn, `BEGIN`)
		exec(t, conn, insert)
		exec(t, conn, `SELECT outcrier.append('a', 't', dedup_key => 'k' || random())`)
		_, err := conn.Exec(t.Context(), `PREPARE TRANSACTION 'transfer'`)
		if err == nil {
			exec(t, conn, `COMMIT PREPARED 'transfer'`)
		}
		return err
	}
	if err := prepare(g.writer); code(err) != "0A000" {
		t.Errorf("a writer that notifies can prepare: %v", err)
	}
	if err := prepare(g.writer, `SET outcrier.notify = 'off'`); err != nil {
		t.Errorf("with outcrier.notify off: %v", err)
	}
	_, as := login(t, g.admin, g.address, "IN ROLE outcrier_writer, outcrier_two_phase")
	if err := prepare(as); err != nil {
		t.Errorf("as a member of outcrier_two_phase: %v", err)
	}
	// A superuser is a member of every role, and notifies all the same.
	if !heard(t, g, g.address, insert) {
		t.Error("a superuser does not notify")
	}
	if heard(t, g, as, insert) {
		t.Error("a member of outcrier_two_phase notifies")
	}
}

// Any login of the cluster can fill the notification queue, and every COMMIT that
// notifies fails then. 8 GB fill it; here a function of this database says that they do.
func TestNotify_AFullQueueFailsNoAppend(t *testing.T) {
	t.Parallel()
	g := guard(t)
	for usage, notifies := range map[string]bool{"0.49": true, "0.51": false, "1": false} {
		exec(t, g.admin, `CREATE OR REPLACE FUNCTION pg_catalog.pg_notification_queue_usage() RETURNS float8 LANGUAGE sql AS 'SELECT `+usage+`::float8'`)
		if got := heard(t, g, g.writer, insert, `SELECT outcrier.append('a', 't', headers => '{"a": "b"}')`); got != notifies {
			t.Errorf("with %s of the queue in use: notifies %v, want %v", usage, got, notifies)
		}
	}
}
