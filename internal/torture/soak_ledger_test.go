package torture

import (
	"slices"
	"sync"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

// ledger has the recently committed events, by the time at which their commit was
// confirmed. The table is not enough: retention removes from it.
type ledger struct {
	mu   sync.Mutex
	rows []entry
}

type entry struct {
	row
	at time.Time
}

// ledgerKeeps is longer than a visitor is looked at, from a while before its first
// stream to a while after its last one.
const ledgerKeeps = 12 * time.Minute

func (l *ledger) add(rows ...row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, r := range rows {
		l.rows = append(l.rows, entry{r, now})
	}
	if len(l.rows) > 0 && now.Sub(l.rows[0].at) > ledgerKeeps+time.Minute {
		// A copy: others may be reading the old one.
		l.rows = slices.Clone(l.after(now.Add(-ledgerKeeps)))
	}
}

// since returns the events confirmed at a time and later. The caller must not change
// them.
func (l *ledger) since(at time.Time) []entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.after(at)
}

func (l *ledger) after(at time.Time) []entry {
	i, _ := slices.BinarySearchFunc(l.rows, at, func(e entry, at time.Time) int { return e.at.Compare(at) })
	return l.rows[i:len(l.rows):len(l.rows)]
}

// owed are the ids of the events that a reader with this filter must have received
// between two positions, sorted.
func owed(entries []entry, filter outbox.Filter, from, to position.Position) []int64 {
	matches := map[string]bool{}
	var ids []int64
	for _, e := range entries {
		if !to.Has(e.xid, e.id) || from.Has(e.xid, e.id) {
			continue
		}
		match, known := matches[e.topic]
		if !known {
			match = filter.Match(e.topic, "torture.happened")
			matches[e.topic] = match
		}
		if match {
			ids = append(ids, e.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// compare counts the owed events that are missing, the received events that came twice,
// and those that were not owed. Both are sorted.
func compare(owed, given []int64) (lost, repeated, extra []int64) {
	for i, j := 0, 0; i < len(owed) || j < len(given); {
		switch {
		case j > 0 && j < len(given) && given[j] == given[j-1]:
			repeated = append(repeated, given[j])
			j++
		case j == len(given) || i < len(owed) && owed[i] < given[j]:
			lost = append(lost, owed[i])
			i++
		case i == len(owed) || given[j] < owed[i]:
			extra = append(extra, given[j])
			j++
		default:
			i++
			j++
		}
	}
	return lost, repeated, extra
}
