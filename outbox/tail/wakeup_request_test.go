package tail

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/outcrier/outcrier/outbox/internal/table"
)

func TestRequest_WaitsForTransactionsThatMayHaveLookedBefore(t *testing.T) {
	for name, test := range map[string]struct {
		snapshots []string
		clear     []bool
	}{
		"nothing in flight":                  {[]string{"10:10:"}, []bool{true}},
		"only later ones":                    {[]string{"11:13:11,12", "12:14:12"}, []bool{true, true}},
		"an earlier one, over at the next":   {[]string{"5:11:5", "11:11:"}, []bool{false, true}},
		"an earlier one that stays":          {[]string{"5:11:5", "5:13:5,12", "5:13:5"}, []bool{false, false, false}},
		"two that end one by one":            {[]string{"5:12:5,7,11", "7:12:7,11", "11:12:11"}, []bool{false, false, true}},
		"an earlier one that is in no list":  {[]string{"8:8:", "9:9:", "10:10:"}, []bool{false, false, true}},
		"an earlier one beyond the snapshot": {[]string{"5:8:5", "8:8:", "12:12:"}, []bool{false, false, true}},
	} {
		request := &request{number: 1, next: 10}
		for i, text := range test.snapshots {
			s, err := table.ParseSnapshot(text)
			if err != nil {
				t.Fatal(err)
			}
			if got := request.clear(s); got != test.clear[i] {
				t.Errorf("%s: after snapshot %s clear is %v", name, text, got)
			}
		}
	}
	if (&request{number: 1}).clear(table.Snapshot{Min: math.MaxInt64, Max: math.MaxInt64}) {
		t.Error("a request is clear of which no next xid is known")
	}
}

// Postgres gives an age in 32 bits, of a counter that has 64.
func TestNextXID_IsTheFirstFromTheSnapshotOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		max := rapid.Uint64Range(3, math.MaxInt64).Draw(t, "max")
		next := max + rapid.Uint64Range(0, math.MaxInt32).Draw(t, "more")
		age := int64(int32(uint32(next) - 3)) // xid_age, in Postgres's xid.c
		if got := nextXID(age, max); got != next {
			t.Errorf("of age %d from %d on: %d, want %d", age, max, got, next)
		}
	})
}
