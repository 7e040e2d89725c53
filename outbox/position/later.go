package position

import "slices"

// Covers reports whether a reader at p has received everything that one at o has. Both are
// of one history; positions of different ones can't be compared.
func (p Position) Covers(o Position) bool {
	if p.History != o.History {
		return false
	}
	whole := o.Given
	if o.Within != nil {
		whole = whole.Union(*o.Within)
	}
	if p.Given.Covers(whole) {
		return true
	}
	// Both may stand in the middle of the same read.
	return p.Within != nil && p.Given.Covers(o.Given) && p.EventID >= o.EventID &&
		(o.Within == nil || p.Within.Max == o.Within.Max && slices.Equal(p.Within.Except, o.Within.Except))
}
