package position

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The universe of xids is small, so that chance meets every border.
const lastXID = 12

func drawSet(t *rapid.T, label string) Set {
	s := Set{Max: rapid.Uint64Range(0, lastXID).Draw(t, label+" max")}
	for xid := uint64(1); xid < s.Max; xid++ {
		if rapid.Bool().Draw(t, label+" except") {
			s.Except = append(s.Except, xid)
		}
	}
	return s
}

// members is the naive set.
func members(s Set) map[uint64]bool {
	m := map[uint64]bool{}
	for xid := uint64(1); xid <= s.Max; xid++ {
		m[xid] = true
	}
	for _, xid := range s.Except {
		delete(m, xid)
	}
	return m
}

func TestSet_AgreesWithNaiveSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawSet(t, "a"), drawSet(t, "b")
		inA, inB := members(a), members(b)
		union, covers := a.Union(b), true
		for xid := uint64(1); xid <= lastXID+1; xid++ {
			if a.Has(xid) != inA[xid] {
				t.Errorf("%v has %d: %v", a, xid, a.Has(xid))
			}
			if union.Has(xid) != (inA[xid] || inB[xid]) {
				t.Errorf("union of %v and %v has %d: %v", a, b, xid, union.Has(xid))
			}
			covers = covers && (inA[xid] || !inB[xid])
		}
		if a.Covers(b) != covers {
			t.Errorf("%v covers %v: %v", a, b, a.Covers(b))
		}
		if !slices.IsSorted(union.Except) || len(union.Except) > 0 && union.Except[len(union.Except)-1] >= union.Max {
			t.Errorf("union %v is not in order", union)
		}
	})
}

func TestSet_IsWhatASnapshotSees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		open := map[uint64]bool{}
		var xip []uint64
		for xid := uint64(1); xid <= lastXID; xid++ {
			if rapid.Bool().Draw(t, "open") {
				open[xid], xip = true, append(xip, xid)
			}
		}
		newest := rapid.Uint64Range(0, lastXID).Filter(func(xid uint64) bool { return !open[xid] }).Draw(t, "max")
		s := NewSet(newest, xip)
		for xid := uint64(1); xid <= lastXID; xid++ {
			if want := xid <= newest && !open[xid]; s.Has(xid) != want {
				t.Errorf("max %d, in progress %v: has %d: %v, want %v", newest, xip, xid, s.Has(xid), want)
			}
		}
	})
}
