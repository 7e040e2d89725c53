package outbox

// Like is the pattern as Postgres gets it.
func (p Pattern) Like() string { return p.like() }

// Bounds are those of the topics that Postgres lists for the pattern.
func (p Pattern) Bounds() (low, high string, bounded bool) { return p.bounds() }

// ReadOnce is one read of a tail, as for few events or for many.
var ReadOnce = read
