package wire

import (
	"bytes"
	"testing"

	"github.com/outcrier/outcrier/outbox"
)

// Only payloads this small reach the limit of 500 events before the limit of bytes.
func TestBatch_HasAtMost500Events(t *testing.T) {
	encoder, _ := NewEncoder(Encoding{Format: Payload, Batch: true, Keys: testKeys})
	var buf []byte
	for id := range int64(501) {
		e := outbox.Event{ID: id + 1, XID: 7, Topic: "a", Type: "t", Payload: []byte(`1`)}
		for full := true; full; {
			if buf, full = encoder.Room(buf, nil, &e); full {
				buf = buf[:0] // sent
			}
		}
		if buf = encoder.Event(buf, &e, after(e)); len(buf) > 0 {
			t.Fatalf("a batch ends before event %d", e.ID)
		}
	}
	if buf = encoder.Seal(nil); !bytes.Contains(buf, []byte("data: [1]\n")) {
		t.Errorf("after a batch of 500 events comes %.100q", buf)
	}
}
