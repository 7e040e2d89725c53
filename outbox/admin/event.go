package admin

import (
	"context"
	"time"
)

// Detail is all that is known of one event.
type Detail struct {
	ID        int64             `json:"id"`
	CreatedAt time.Time         `json:"created_at"`
	Topic     string            `json:"topic"`
	Type      string            `json:"type"`
	Source    string            `json:"source"`
	Headers   map[string]string `json:"headers"`
	DedupKey  *string           `json:"dedup_key"`
	XID       uint64            `json:"xid"`
	// Payload is as it was appended, byte for byte.
	Payload     string  `json:"payload"`
	Code        *string `json:"code"`
	Title       *string `json:"title"`
	Description *string `json:"description"`
	Severity    *string `json:"severity"`
	Action      *string `json:"action"`
	// Publisher is whom the token was for that it was appended with; nil if by SQL.
	Publisher *string `json:"publisher"`
	// SQL and ReceiptsSQL are statements for psql: of the event, and of who was
	// sent it.
	SQL         string `json:"sql" db:"-"`
	ReceiptsSQL string `json:"receipts_sql" db:"-"`
}

// Event reads one event; found is false if it is not held.
func (a *Admin) Event(ctx context.Context, id int64) (event Detail, found bool, err error) {
	const eventSQL = `
SELECT h.id, h.created_at, h.topic, h.type, h.source, h.headers, h.dedup_key, h.xid,
	(SELECT o.payload::text FROM outcrier.event AS o WHERE o.id = h.id AND o.created_at = h.created_at),
	h.code, h.title, h.description, h.severity, h.action, h.publisher
FROM outcrier.history AS h WHERE h.id = $1`
	events, err := readAll[Detail](ctx, a, eventSQL, id)
	if err != nil || len(events) == 0 {
		return Detail{}, false, err
	}
	shown, receipts := new(statement), new(statement)
	shown.add("SELECT *\nFROM outcrier.history\nWHERE id = ?", id)
	receipts.add("SELECT subject, client_address, node, sent_after, sent_before, closed_at, end_reason, perhaps\nFROM outcrier.receipts\nWHERE id = ?", id)
	event = events[0]
	event.SQL, event.ReceiptsSQL = shown.copied(a.Schema)+";", receipts.copied(a.Schema)+";"
	return event, true, nil
}

// Receipt is a stream that an event was sent to.
type Receipt struct {
	Subject       string     `json:"subject"`
	ClientAddress string     `json:"client_address"`
	Node          string     `json:"node"`
	Run           int64      `json:"run"`
	Stream        int64      `json:"stream"`
	SentAfter     time.Time  `json:"sent_after"`
	SentBefore    time.Time  `json:"sent_before"`
	ClosedAt      *time.Time `json:"closed_at"`
	EndReason     *string    `json:"end_reason"`
	// Perhaps is set where the connection broke in the write that the event was in, or
	// soon after.
	Perhaps bool `json:"perhaps"`
}

// ReceiptPage is how many receipts are read at once.
const ReceiptPage = 100

// Receipts reads which streams received an event, ordered by run and stream, from after the
// run and stream of the arguments.
func (a *Admin) Receipts(ctx context.Context, id, run, stream int64) ([]Receipt, error) {
	const receiptsSQL = `
SELECT subject, client_address, node, run, stream, sent_after, sent_before, closed_at, end_reason, perhaps
FROM outcrier.receipts WHERE id = $1 AND (run, stream) > ($2, $3) ORDER BY run, stream LIMIT $4`
	return readAll[Receipt](ctx, a, receiptsSQL, id, run, stream, ReceiptPage)
}
