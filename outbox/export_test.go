package outbox

import "time"

// Like is the pattern as Postgres gets it.
func (p Pattern) Like() string { return p.like() }

// Bounds are those of the topics that Postgres lists for the pattern.
func (p Pattern) Bounds() (low, high string, bounded bool) { return p.bounds() }

// ReadOnce is one read of a tail, as for few events or for many.
var ReadOnce = read

// SearchFor has a page of a search take no longer than about d.
func (a *Admin) SearchFor(d time.Duration) { a.searchTime = d }

// Busy returns when no turn is left.
func (a *Admin) Busy() {
	for len(a.turns) < cap(a.turns) {
		time.Sleep(time.Millisecond)
	}
}
