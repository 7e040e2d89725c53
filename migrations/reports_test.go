package migrations_test

import (
	"slices"
	"testing"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// What reports whether it found something says false if not, and never NULL, which a caller's
// IF NOT would take for neither.
func TestFunctions_ThatReportSayFalseAndNotNull(t *testing.T) {
	conn := connect(t, outboxtest.URL(t))
	exec(t, conn, `INSERT INTO outbox (topic, type, deliver_at) VALUES ('a', 't', now() + interval '1 hour'), ('b', 't', NULL)`)
	exec(t, conn, `SELECT outcrier.heartbeat(7, 'n', 1, '0', NULL)`)
	exec(t, conn, `INSERT INTO outcrier.stream (run, stream, node, subject, client_address, topics, types, history, from_position, from_set, position, position_set, position_at, events, opened_at)
		SELECT 7, 1, 'n', 'ann', '', '{a}', '{}', 1, '0.x', ROW('0', '{}', NULL, NULL, NULL)::outcrier.position_set, '0.x', ROW('0', '{}', NULL, NULL, NULL)::outcrier.position_set, now(), 0, now()`)
	scheduled := `(SELECT id FROM outcrier.scheduled)`
	for _, one := range []struct {
		call string
		want []bool
	}{
		{`SELECT outcrier.cancel(NULL)`, []bool{false}},
		{`SELECT outcrier.cancel(99)`, []bool{false}},
		{`SELECT outcrier.cancel((SELECT id FROM outcrier.history WHERE topic = 'b'))`, []bool{false}},
		{`SELECT outcrier.redact(NULL, '{}', 'r')`, []bool{false}},
		{`SELECT outcrier.redact(99, '{}', 'r')`, []bool{false}},
		{`SELECT outcrier.redact(` + scheduled + `, '{}', 'r')`, []bool{true}},
		{`SELECT outcrier.cancel(` + scheduled + `)`, []bool{true}},
		{`SELECT outcrier.end_stream(NULL, NULL, 'me')`, []bool{false}},
		{`SELECT outcrier.end_stream(7, 2, 'me')`, []bool{false}},
		{`SELECT outcrier.end_stream(7, 1, 'me')`, []bool{true}},
		{`SELECT outcrier.end_stream(7, 1, 'another')`, []bool{true}},
		{`SELECT end_requested_by = 'me' FROM outcrier.stream`, []bool{true}},
	} {
		if got := list[bool](t, conn, one.call); !slices.Equal(got, one.want) {
			t.Errorf("%s: %v, want %v", one.call, got, one.want)
		}
	}
}
