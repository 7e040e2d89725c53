package outbox

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// drawExcept draws least to most transactions below max, near each other or far:
// those that begin one after the other are in flight together.
func drawExcept(t *rapid.T, max uint64, least, most int) []uint64 {
	gap := rapid.SampledFrom([]uint64{1, 2, 100, 1 << 20, 1 << 40}).Draw(t, "gap")
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	var except []uint64
	xid := max
	for range rapid.IntRange(least, most).Draw(t, "in flight") {
		distance := 1 + random.Uint64N(gap)
		if distance >= xid {
			break
		}
		xid -= distance
		except = append(except, xid)
	}
	slices.Reverse(except)
	return except
}

func drawPosition(t *rapid.T, least, most int) Position {
	p := Position{
		History: rapid.Uint32().Draw(t, "history"),
		EventID: rapid.Int64Range(0, math.MaxInt64).Draw(t, "event"),
		Removal: rapid.Int64Range(0, math.MaxInt64).Draw(t, "removal"),
	}
	p.Given.Max = rapid.Uint64Range(0, math.MaxInt64>>1).Draw(t, "max")
	p.Given.Except = drawExcept(t, p.Given.Max, least, most)
	top := p.Given.Max
	if rapid.Bool().Draw(t, "within") {
		top += rapid.Uint64Range(0, 1<<30).Draw(t, "within max")
		p.Within = &Set{Max: top, Except: drawExcept(t, top, least, most)}
	}
	p.Anchor = Anchor{XID: top + rapid.Uint64Range(0, 2).Draw(t, "anchor"), Hash: rapid.Uint32().Draw(t, "hash")}
	return p
}

func TestPosition_ComesBackAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPosition(t, 0, 40)
		q, err := ParsePosition(p.String())
		if diff := cmp.Diff(p, q, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%s: %v, (-written +read):\n%s", p, err, diff)
		}
	})
}

// claimsNoMore checks that q, p after a journey, has no event that p has not.
func claimsNoMore(t interface{ Errorf(string, ...any) }, p, q Position) {
	xids := slices.Concat(p.Given.Except, []uint64{p.Given.Max, q.Given.Max})
	if p.Within != nil {
		xids = slices.Concat(xids, p.Within.Except, []uint64{p.Within.Max})
	}
	for _, at := range xids {
		for _, xid := range []uint64{at - 1, at, at + 1} {
			for _, id := range []int64{p.EventID, p.EventID + 1} {
				if q.Has(xid, id) && !p.Has(xid, id) {
					t.Errorf("rounded down it claims event %d of transaction %d, which was not given", id, xid)
					return
				}
			}
		}
	}
}

func checkRounded(t interface{ Errorf(string, ...any) }, p Position) {
	text := p.String()
	if len(text) > maxPositionText {
		t.Errorf("%d in flight up to %d: written with %d bytes", len(p.Given.Except), p.Given.Max, len(text))
	}
	q, err := ParsePosition(text)
	if err != nil {
		t.Errorf("%d in flight up to %d: %v", len(p.Given.Except), p.Given.Max, err)
		return
	}
	claimsNoMore(t, p, q)
}

func TestPosition_TooLongClaimsLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkRounded(t, drawPosition(t, 500, 3000)) })
}

// Transactions that began one after the other have adjacent xids.
func TestPosition_TooLongWithAdjacentTransactionsClaimsLess(t *testing.T) {
	p := Position{Given: Set{Max: 10_000}, Anchor: Anchor{XID: 10_000}}
	for xid := uint64(5000); xid < 8000; xid++ {
		p.Given.Except = append(p.Given.Except, xid)
	}
	checkRounded(t, p)
}

func TestPosition_RoundedDownStillClaimsMuch(t *testing.T) {
	p := Position{Given: Set{Max: 1 << 40}, Anchor: Anchor{XID: 1 << 40}}
	for xid := uint64(1000); xid < 6000; xid += 2 {
		p.Given.Except = append(p.Given.Except, xid)
	}
	q, err := ParsePosition(p.String())
	if err != nil || q.Given.Max < 1000+2*1000 || q.Anchor != p.Anchor {
		t.Errorf("of %d in flight it claims %d up to %d, anchor %v, %v", len(p.Given.Except), len(q.Given.Except), q.Given.Max, q.Anchor, err)
	}
}

// packed writes a position by hand: history 1, hash 2, then the numbers.
func packed(flags byte, numbers ...uint64) []byte {
	b := []byte{positionVersion | flags, 0, 0, 0, 1, 0, 0, 0, 2}
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func encoded(packed []byte) string { return "7." + base64.RawURLEncoding.EncodeToString(packed) }

func TestParsePosition_RefusesWhatItWouldNotWrite(t *testing.T) {
	good := encoded(packed(0, 0, 50, 2, 1, 1))
	if p, err := ParsePosition(good); err != nil || p.String() != good {
		t.Fatalf("the good one: %v, %v", p, err)
	}
	bloated := packed(0, 0, 10_000, 1495)
	for range 1495 {
		bloated = append(bloated, 1)
	}
	for name, text := range map[string]string{
		"empty":                           "",
		"no dot":                          "7",
		"a dot":                           ".",
		"no rest":                         "7.",
		"no id":                           good[1:],
		"negative id":                     "-" + good,
		"id with a sign":                  "+" + good,
		"id with a leading zero":          "0" + good,
		"id with a space":                 " " + good,
		"id out of range":                 "99999999999999999999" + good[1:],
		"id in hexadecimal":               "0x" + good,
		"two dots":                        good + ".",
		"padding":                         good + "==",
		"standard base64":                 "7.EAAA+/AA",
		"a line feed behind":              good + "\n",
		"a carriage return within":        good[:9] + "\r" + good[9:],
		"a space within":                  good[:9] + " " + good[9:],
		"bits left over":                  good[:len(good)-1] + "_",
		"not UTF-8":                       "7.\xff\xfe",
		"NUL":                             "7.\x00",
		"cut in the head":                 encoded(packed(0)[:7]),
		"cut before the numbers":          encoded(packed(0)),
		"cut in the list":                 encoded(packed(0, 0, 50, 2, 1)),
		"one byte too many":               encoded(packed(0, 0, 50, 2, 1, 1, 0)),
		"another version":                 encoded(append([]byte{2 << 4}, packed(0, 0, 50, 0)[1:]...)),
		"an unknown flag":                 encoded(packed(1<<2, 0, 50, 0)),
		"overlapping transactions":        encoded(packed(0, 0, 50, 2, 1, 0)),
		"a transaction at the top":        encoded(packed(0, 0, 50, 1, 0)),
		"transaction 0":                   encoded(packed(0, 0, 50, 1, 50)),
		"transactions below 0":            encoded(packed(0, 0, 50, 2, 40, 20)),
		"more in flight than there is":    encoded(packed(0, 0, 50, 1_000_000)),
		"an xid out of range":             encoded(packed(0, 0, math.MaxInt64+1, 0)),
		"a trim out of range":             encoded(packed(0, math.MaxInt64+1, 50, 0)),
		"within out of range":             encoded(packed(flagWithin, 0, 50, 0, math.MaxInt64, 0)),
		"an anchor out of range":          encoded(packed(flagAnchorApart, 0, 50, 0, math.MaxInt64)),
		"an anchor apart that is not":     encoded(packed(flagAnchorApart, 0, 50, 0, 0)),
		"a number in eleven bytes":        encoded(append(packed(0), slices.Repeat([]byte{0xff}, 11)...)),
		"a number not in shortest form":   encoded(append(packed(0, 0), 0xb2, 0x00, 0)),
		"too long":                        good + strings.Repeat("A", 3000),
		"longer than any that is written": encoded(bloated),
	} {
		if p, err := ParsePosition(text); !errors.Is(err, ErrMalformedPosition) {
			t.Errorf("%s: %.80q is taken for %.80q, %v", name, text, p.String(), err)
		}
	}
}

// whatIsTakenIsWrittenBack holds for every text.
func whatIsTakenIsWrittenBack(t interface{ Errorf(string, ...any) }, text string) {
	p, err := ParsePosition(text)
	if err == nil && p.String() != text {
		// Only the format of the SQL function position is written in another one.
		_, opaque, _ := strings.Cut(text, ".")
		first, _ := base64.RawURLEncoding.DecodeString(opaque[:min(2, len(opaque))])
		if again, err := ParsePosition(p.String()); len(first) != 1 || first[0] != snapshotVersion || err != nil || again.String() != p.String() {
			t.Errorf("%q is taken, and written back as %q", text, p)
		}
	}
	if err != nil && !errors.Is(err, ErrMalformedPosition) {
		t.Errorf("%q: %v", text, err)
	}
}

func TestParsePosition_WritesBackWhateverItTakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(drawPosition(t, 0, 20).String())
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			i := rapid.IntRange(0, len(text)-1).Draw(t, "at")
			text[i] = rapid.Byte().Draw(t, "byte")
		}
		whatIsTakenIsWrittenBack(t, string(text))
	})
}

func FuzzParsePosition(f *testing.F) {
	f.Add("0.EAAAAAEAAAACAAAA")
	f.Add("7.IAAAAAEAAAACAAAAAAAAAAAAAAAAAAAACQAAAAAAAAAJAAAAAAAAAAU")
	f.Add("7.IAAAAAEAAAACAAAAAAAAAAAAAAAAAAAACQAAAAAAAAAJAAAAAAAAAAgAAAAAAAAACQ")
	f.Add(encoded(packed(flagWithin|flagAnchorApart, 3, 50, 2, 1, 1, 20, 1, 5, 9)))
	f.Add("1042.AQeGjAMBgIsD")
	f.Fuzz(func(t *testing.T, text string) {
		whatIsTakenIsWrittenBack(t, text)
		if p, err := ParsePosition(text); err == nil {
			for _, leg := range p.Legs(Position{Given: Set{Max: 60, Except: []uint64{7}}, Anchor: Anchor{XID: 60}}) {
				checkRounded(t, leg.At(max(leg.After, 1)))
			}
		}
	})
}
