package outbox

// Regexp is the pattern as Postgres gets it.
func (p Pattern) Regexp() string { return p.regexp() }

// ReadOnce is one read of a tail, as for few events or for many.
var ReadOnce = read
