package position

import (
	"testing"

	"pgregory.net/rapid"
)

// TestPosition_CoversWhatIsEarlier compares Covers with the events that readers at both
// positions have received, one by one.
func TestPosition_CoversWhatIsEarlier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := func(name string) Set {
			most := rapid.Uint64Range(1, 12).Draw(t, name)
			var except []uint64
			for xid := uint64(1); xid < most; xid++ {
				if rapid.Bool().Draw(t, "open") {
					except = append(except, xid)
				}
			}
			return Set{Max: most, Except: except}
		}
		// Reads of one tail, each of which sees what the last one did and more.
		reads := []Set{set("first")}
		for i := range 3 {
			reads = append(reads, reads[i].Union(set("next")))
		}
		position := func(name string) Position {
			i := rapid.IntRange(0, len(reads)-2).Draw(t, name)
			p := Position{History: 1, EventID: rapid.Int64Range(0, 5).Draw(t, "id"), Given: reads[i]}
			if rapid.Bool().Draw(t, "within") {
				p.Within = &reads[i+1]
			}
			return p
		}
		p, o := position("p"), position("o")
		covered := true
		for xid := uint64(1); xid <= 12; xid++ {
			for id := int64(1); id <= 5; id++ {
				covered = covered && (p.Has(xid, id) || !o.Has(xid, id))
			}
		}
		if p.Covers(o) && !covered {
			t.Fatalf("%+v covers %+v, but has not all of it", p, o)
		}
		if !p.Covers(p) {
			t.Fatalf("%+v does not cover itself", p)
		}
		// As a page is rendered: from a snapshot between two reads.
		snapshot := p
		snapshot.Within = nil
		if covered && p.Within == nil && o.Within == nil && !snapshot.Covers(o) {
			t.Fatalf("%+v has all of %+v, but does not cover it", snapshot, o)
		}
		other := p
		other.History++
		if other.Covers(p) || p.Covers(other) {
			t.Fatal("positions of different histories are compared")
		}
	})
}
