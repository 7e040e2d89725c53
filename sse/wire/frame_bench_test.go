package wire

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/outbox"
)

func BenchmarkFrame_Encode(b *testing.B) {
	e := outbox.Event{ID: 1234567, XID: 7654321, Topic: "user/42", Type: "audit.approved", Source: "/audit", Payload: json.RawMessage(`{"n":"` + strings.Repeat("p", 192) + `"}`), CreatedAt: epoch}
	read := &Read{To: after(e), Keys: testKeys}
	b.ReportAllocs()
	for b.Loop() {
		f := &Frame{Event: &e, Read: read, Last: true}
		f.in(CloudEvents)
	}
}

func BenchmarkFrame_Compress(b *testing.B) {
	payload := json.RawMessage(`{"submission": 7, "reviewer": "ada", "comment": "looks good to me, one remark on page three", "amount": 12873.50, "currency": "EUR"}`)
	e := outbox.Event{ID: 1234567, XID: 7654321, Topic: "user/42", Type: "audit.approved", Source: "/audit", Payload: payload, CreatedAt: epoch}
	f := &Frame{Event: &e, Read: &Read{To: after(e), Keys: testKeys}, Last: true}
	text := f.in(CloudEvents)
	b.ReportAllocs()
	for b.Loop() {
		text.compress()
	}
	b.ReportMetric(float64(len(text.compress().wire))/float64(len(text.wire)), "ratio")
}
