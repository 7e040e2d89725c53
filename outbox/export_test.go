package outbox

// Regexp is the pattern as Postgres gets it.
func (p Pattern) Regexp() string { return p.regexp() }
