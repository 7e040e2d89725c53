package outbox_test

import (
	"testing"

	"github.com/outcrier/outcrier/outbox"
)

// The position of an event in the middle of a read, with a few transactions in
// flight: what each event sent carries.
var somePosition = outbox.Position{
	History: 1, EventID: 1_234_567, Anchor: outbox.Anchor{XID: 7_654_400, Hash: 1}, Removal: 3,
	Given:  outbox.Set{Max: 7_654_321, Except: []uint64{7_654_000, 7_654_300}},
	Within: &outbox.Set{Max: 7_654_400, Except: []uint64{7_654_000, 7_654_350, 7_654_399}},
}

func BenchmarkPositionKeys_Append(b *testing.B) {
	b.ReportAllocs()
	var dst []byte
	keys := outbox.NewPositionKeys()
	for b.Loop() {
		dst = keys.Append(dst[:0], somePosition)
	}
}

func BenchmarkPositionKeys_Open(b *testing.B) {
	b.ReportAllocs()
	keys := outbox.NewPositionKeys()
	text := keys.Seal(somePosition)
	for b.Loop() {
		if _, err := keys.Open(text); err != nil {
			b.Fatal(err)
		}
	}
}
