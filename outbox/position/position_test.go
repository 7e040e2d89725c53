package position

import (
	"encoding/binary"
	"encoding/hex"
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

// testKeys are of all nodes of these tests.
var testKeys = NewKeys()

func TestPosition_ComesBackAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPosition(t, 0, 40)
		q, err := testKeys.Open(testKeys.Seal(p))
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
	text := testKeys.Seal(p)
	if len(text) > maxPositionText {
		t.Errorf("%d in flight up to %d: written with %d bytes", len(p.Given.Except), p.Given.Max, len(text))
	}
	q, err := testKeys.Open(text)
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
	q, err := testKeys.Open(testKeys.Seal(p))
	if err != nil || q.Given.Max < 1000+2*1000 || q.Anchor != p.Anchor {
		t.Errorf("of %d in flight it claims %d up to %d, anchor %v, %v", len(p.Given.Except), len(q.Given.Except), q.Given.Max, q.Anchor, err)
	}
}

// packed writes a position by hand: history 1, hash 2, then the numbers.
func packed(flags byte, numbers ...uint64) []byte {
	b := []byte{flags, 0, 0, 0, 1, 0, 0, 0, 2}
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// sealed is a position of event 7 that was packed by hand, whatever it is.
func sealed(form byte, packed []byte) string {
	key, s := testKeys.Used(), sealings.New().(*sealing)
	s.begin(key, form, 7)
	s.message = append(s.message, packed...)
	return string(s.seal(nil, key, 7))
}

func TestKeys_OpenRefusesWhatItWouldNotWrite(t *testing.T) {
	of := func(packed []byte) string { return sealed(formPacked, packed) }
	good := of(packed(0, 0, 50, 2, 1, 1))
	if p, err := testKeys.Open(good); err != nil || testKeys.Seal(p) != good {
		t.Fatalf("the good one: %v, %v", p, err)
	}
	bloated := packed(0, 0, 10_000, 1495)
	for range 1495 {
		bloated = append(bloated, 1)
	}
	snapshot := func(words ...uint64) string {
		var b []byte
		for _, word := range words {
			b = binary.BigEndian.AppendUint64(b, word)
		}
		return sealed(formSnapshot, b)
	}
	if p, err := testKeys.Open(snapshot(1<<32|2, 0, 50, 50, 48)); err != nil || p.Given.Max != 50 || !slices.Equal(p.Given.Except, []uint64{48}) {
		t.Fatalf("the good one of SQL: %v, %v", p, err)
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
		"another id":                      "8" + good[1:],
		"two dots":                        good + ".",
		"padding":                         good + "==",
		"standard base64":                 good[:10] + "+/" + good[12:],
		"a line feed behind":              good + "\n",
		"a carriage return within":        good[:9] + "\r" + good[9:],
		"a space within":                  good[:9] + " " + good[9:],
		"bits left over":                  good[:len(good)-1] + "_",
		"not UTF-8":                       "7.\xff\xfe",
		"NUL":                             "7.\x00",
		"of no key":                       "7.MAA",
		"of no key, by nobody":            (*Keys)(nil).Seal(Position{EventID: 7}),
		"of another key":                  NewKeys().Seal(Position{EventID: 7}),
		"cut in the tag":                  good[:12],
		"cut":                             good[:len(good)-4],
		"longer by a step":                good + strings.Repeat("A", 64),
		"another version":                 sealed(0x40, packed(0, 0, 50, 0)),
		"packed by another":               sealed(formSnapshot, packed(0, 0, 50, 2, 1, 1)),
		"empty within":                    of(nil),
		"one byte too many":               of(packed(0, 0, 50, 2, 1, 1, 1)),
		"filled up with more":             of(append(packed(0, 0, 50, 2, 1, 1), make([]byte, 16)...)),
		"an unknown flag":                 of(packed(1<<2, 0, 50, 0)),
		"overlapping transactions":        of(packed(0, 0, 50, 2, 1, 0)),
		"a transaction at the top":        of(packed(0, 0, 50, 1, 0)),
		"transaction 0":                   of(packed(0, 0, 50, 1, 50)),
		"transactions below 0":            of(packed(0, 0, 50, 2, 40, 20)),
		"more in flight than there is":    of(packed(0, 0, 50, 1_000_000)),
		"an xid out of range":             of(packed(0, 0, math.MaxInt64+1, 0)),
		"a trim out of range":             of(packed(0, math.MaxInt64+1, 50, 0)),
		"within out of range":             of(packed(flagWithin, 0, 50, 0, math.MaxInt64, 0)),
		"an anchor out of range":          of(packed(flagAnchorApart, 0, 50, 0, math.MaxInt64)),
		"an anchor apart that is not":     of(packed(flagAnchorApart, 0, 50, 0, 0)),
		"a number in eleven bytes":        of(append(packed(0), slices.Repeat([]byte{0xff}, 11)...)),
		"a number not in shortest form":   of(append(packed(0, 0), 0xb2, 0x00, 0)),
		"too long":                        good + strings.Repeat("A", 3000),
		"longer than any that is written": of(bloated),
		"of SQL, cut":                     snapshot(1<<32|2, 0, 50),
		"of SQL, out of order":            snapshot(1<<32|2, 0, 50, 50, 48, 47),
		"of SQL, beyond the set":          snapshot(1<<32|2, 0, 50, 50, 51),
		"of SQL, transaction 0":           snapshot(1<<32|2, 0, 50, 50, 0, 0, 1),
		"of SQL, a number out of range":   snapshot(1<<32|2, 0, 1<<63, 50),
		"of SQL, an anchor out of range":  snapshot(1<<32|2, 0, 49, 50),
		"of SQL, filled up with more":     snapshot(1<<32|2, 0, 50, 50, 0, 0),
	} {
		if p, err := testKeys.Open(text); !errors.Is(err, ErrMalformedPosition) {
			t.Errorf("%s: %.80q is taken for %.80q, %v", name, text, p.String(), err)
		}
	}
}

// Nothing of a position can be changed, not the id either: each bit is tried.
func TestKeys_OpenTakesNoPositionThatWasAltered(t *testing.T) {
	p := Position{History: 9, EventID: 1042, Given: Set{Max: 700, Except: []uint64{650, 690}}, Anchor: Anchor{XID: 700, Hash: 5}}
	text := testKeys.Seal(p)
	for i := range len(text) {
		for bit := range 8 {
			altered := []byte(text)
			altered[i] ^= 1 << bit
			if q, err := testKeys.Open(string(altered)); err == nil {
				t.Errorf("%s altered to %s is taken for %s", text, altered, q)
			}
		}
	}
}

// A position is the same text at every node, so that texts can be compared and frames
// shared; and nothing of its content shows except the id.
func TestKeys_SealTheSamePositionInTheSameBytesAndNoOther(t *testing.T) {
	seen := map[string]Position{}
	rapid.Check(t, func(t *rapid.T) {
		p := drawPosition(t, 0, 10)
		text := testKeys.Seal(p)
		if again := testKeys.Seal(p); again != text {
			t.Fatalf("%s and then %s", text, again)
		}
		opaque := text[strings.IndexByte(text, '.')+1:]
		if q, is := seen[opaque[4:20]]; is && !p.Equal(q) {
			t.Fatalf("%s and %s begin alike", p, q)
		}
		seen[opaque[4:20]] = p
		other := p
		other.Removal ^= 1
		if a, b := opaque, testKeys.Seal(other); len(a) > 60 && strings.HasSuffix(b, a[len(a)-16:]) {
			t.Fatalf("%s and %s end alike", a, b)
		}
	})
}

func TestPositionKey_IsHMAC(t *testing.T) {
	// RFC 4231, test case 2.
	key := newKey(1, []byte("Jefe"))
	tag := sealings.New().(*sealing).mac(key, []byte("what do ya want for nothing?"))
	if got := hex.EncodeToString(tag); got != "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" {
		t.Error(got)
	}
}

// whatIsTakenIsWrittenBack holds for every text, and every packed position.
func whatIsTakenIsWrittenBack(t interface{ Errorf(string, ...any) }, text string) {
	p, err := testKeys.Open(text)
	if err == nil {
		if again := testKeys.Seal(p); again != text {
			// Only what SQL packs is packed in another way.
			q, err := testKeys.Open(again)
			if _, opaque, _ := strings.Cut(text, "."); !strings.HasPrefix(opaque, "MQ") || err != nil || !p.Equal(q) {
				t.Errorf("%q is taken, and written back as %q", text, again)
			}
		}
	} else if !errors.Is(err, ErrMalformedPosition) {
		t.Errorf("%q: %v", text, err)
	}
}

func TestKeys_WriteBackWhateverTheyTake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(testKeys.Seal(drawPosition(t, 0, 20)))
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			i := rapid.IntRange(0, len(text)-1).Draw(t, "at")
			text[i] = rapid.Byte().Draw(t, "byte")
		}
		whatIsTakenIsWrittenBack(t, string(text))
	})
}

func FuzzKeys_Open(f *testing.F) {
	f.Add("0.MAA")
	f.Add(testKeys.Seal(Position{EventID: 3}))
	f.Add("1042.AQeGjAMBgIsD")
	f.Fuzz(func(t *testing.T, text string) { whatIsTakenIsWrittenBack(t, text) })
}

// FuzzPosition_Unpack is for senders that have the key: the sealed bytes are parsed
// strictly too.
func FuzzPosition_Unpack(f *testing.F) {
	f.Add(false, packed(0, 0, 50, 2, 1, 1))
	f.Add(false, packed(flagWithin|flagAnchorApart, 3, 50, 2, 1, 1, 20, 1, 5, 9))
	f.Add(true, binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 16), 9), 9))
	f.Fuzz(func(t *testing.T, snapshot bool, packed []byte) {
		form := byte(formPacked)
		if snapshot {
			form = formSnapshot
		}
		text := sealed(form, packed)
		whatIsTakenIsWrittenBack(t, text)
		if p, err := testKeys.Open(text); err == nil {
			// In the middle of the read that it is in, and of the next one.
			next := p
			if p.Within != nil {
				p.EventID = max(p.EventID, 1)
				checkRounded(t, p)
				next.Within, next.Given = nil, p.Given.Union(*p.Within)
			}
			if to := (Set{Max: 60, Except: []uint64{7}}); !next.Given.Covers(to) {
				joined := next.Join(Position{Given: to, Anchor: Anchor{XID: 60}})
				joined.EventID = max(next.EventID, 1)
				whole := joined.Given
				joined.Given, joined.Within = next.Given, &whole
				checkRounded(t, joined)
			}
		}
	})
}
