package outbox

import (
	"math/big"
	"testing"
)

// Whatever anyone notifies, in whatever order tickets become known: what is to be
// answered was known before it was heard, and the newest such is never hidden.
func FuzzNotify(f *testing.F) {
	f.Add("7", "9223372036854775807", "8", int64(7), int64(8), true)
	f.Add("-1", "proof x", "", int64(0), int64(0), true)
	f.Add("-1", "proof x", "", int64(0), int64(0), false)
	f.Add("+5", "0x5", "5 ", int64(9), int64(3), true)
	f.Fuzz(func(t *testing.T, first, second, third string, known, learned int64, waiting bool) {
		if known < 0 {
			return
		}
		b := &bell{proof: "proof x", known: known}
		want, beyond, proven := int64(0), false, false
		for i, payload := range []string{first, second, third} {
			if i == 2 {
				b.known = max(b.known, learned)
			}
			b.note(payload, waiting)
			number, ok := new(big.Int).SetString(payload, 10)
			switch {
			case payload == "proof x":
				proven = waiting
			case !ok || !number.IsInt64() || payload != number.String():
				// Not as a writer says it: it need not count, but must not count for more.
				if b.rung > b.known {
					t.Fatalf("%q is to be answered as %d", payload, b.rung)
				}
				want = max(want, b.rung)
				beyond = beyond || b.beyond
			case number.Int64() > b.known:
				beyond = true
			default:
				want = max(want, number.Int64())
			}
		}
		if b.rung != want || b.beyond != beyond || b.proven != proven {
			t.Fatalf("of %q, %q, %q up to %d: answered is %d, want %d; beyond %v, proven %v", first, second, third, b.known, b.rung, want, b.beyond, b.proven)
		}
	})
}
