package outbox

import (
	"encoding/json"
	"fmt"
	"time"
)

// Draft is an event that has not been written yet. Append writes it in the
// caller's transaction; with that transaction's commit it becomes an Event.
//
// Postgres checks every draft (the limits are at each field), so that an INSERT into the
// view outbox and a Draft are held to the same rules.
type Draft struct {
	// Topic is what clients select on: 1 to 255 bytes in segments separated
	// by "/", none empty, without control characters or "*".
	Topic string
	// Type says what happened, dotted and in the past tense by habit, like
	// "audit.approved": 1 to 255 bytes without control characters or line separators, not beginning
	// with "outcrier.".
	Type string
	// Payload is the event's JSON. A json.RawMessage or []byte is stored byte
	// for byte, anything else is marshalled by encoding/json, and nil is "{}".
	// At most 1 MiB, unless the schema was migrated with another limit.
	Payload any
	// Source is the CloudEvents source, a URI reference that names the
	// system, service or component: "/" by default.
	Source string
	// Headers travel with the event and become extension attributes of its
	// CloudEvents envelope; "traceparent" is the usual one. Nil for none.
	Headers map[string]string
	// DedupKey, when not empty, makes the append idempotent: a second one with the
	// same key, topic and type stores nothing and gets the first one's id, for as long as
	// the first is retained. With another topic or type it is refused.
	DedupKey string
	// DeliverAt, when in the future, schedules the event: until then it is not in the
	// outbox, and the id that Append returns can be used to cancel it. Zero appends it at
	// once.
	DeliverAt time.Time
}

// payload is the draft's payload as Postgres stores it.
func (d Draft) payload() (json.RawMessage, error) {
	switch p := d.Payload.(type) {
	case nil:
		return json.RawMessage("{}"), nil
	case json.RawMessage:
		return p, nil
	case []byte:
		return p, nil
	default:
		encoded, err := json.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("encode payload: %w", err)
		}
		return encoded, nil
	}
}
