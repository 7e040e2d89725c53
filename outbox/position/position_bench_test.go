package position_test

import (
	"testing"

	"github.com/outcrier/outcrier/outbox/position"
)

// The position of an event in the middle of a read, with a few transactions in
// flight: what each event sent carries.
var somePosition = position.Position{
	History: 1, EventID: 1_234_567, Anchor: position.Anchor{XID: 7_654_400, Hash: 1}, Removal: 3,
	Given:  position.Set{Max: 7_654_321, Except: []uint64{7_654_000, 7_654_300}},
	Within: &position.Set{Max: 7_654_400, Except: []uint64{7_654_000, 7_654_350, 7_654_399}},
}

func BenchmarkKeys_Append(b *testing.B) {
	b.ReportAllocs()
	var dst []byte
	keys := position.NewKeys()
	for b.Loop() {
		dst = keys.Append(dst[:0], somePosition)
	}
}

func BenchmarkKeys_Open(b *testing.B) {
	b.ReportAllocs()
	keys := position.NewKeys()
	text := keys.Seal(somePosition)
	for b.Loop() {
		if _, err := keys.Open(text); err != nil {
			b.Fatal(err)
		}
	}
}
