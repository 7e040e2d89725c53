package tail

import (
	"math/big"
	"testing"
)

// Whatever is notified, and in whatever order requests become known: a request to be
// answered was known before it was heard, and the newest one is never hidden.
func FuzzNotify(f *testing.F) {
	f.Add("7", "9223372036854775807", "8", int64(7), int64(8), true)
	f.Add("-1", "test x", "", int64(0), int64(0), true)
	f.Add("-1", "test x", "", int64(0), int64(0), false)
	f.Add("+5", "0x5", "5 ", int64(9), int64(3), true)
	f.Fuzz(func(t *testing.T, first, second, third string, known, learned int64, waiting bool) {
		if known < 0 {
			return
		}
		l := &listener{test: "test x", known: known}
		want, beyond, works := int64(0), false, false
		for i, payload := range []string{first, second, third} {
			if i == 2 {
				l.known = max(l.known, learned)
			}
			l.note(payload, waiting)
			number, ok := new(big.Int).SetString(payload, 10)
			switch {
			case payload == "test x":
				works = waiting
			case !ok || !number.IsInt64() || payload != number.String():
				// Not as a writer says it: it need not count, but must not count for more.
				if l.notified > l.known {
					t.Fatalf("%q is to be answered as %d", payload, l.notified)
				}
				want = max(want, l.notified)
				beyond = beyond || l.beyond
			case number.Int64() > l.known:
				beyond = true
			default:
				want = max(want, number.Int64())
			}
		}
		if l.notified != want || l.beyond != beyond || l.works != works {
			t.Fatalf("of %q, %q, %q up to %d: answered is %d, want %d; beyond %v, works %v", first, second, third, l.known, l.notified, want, l.beyond, l.works)
		}
	})
}
