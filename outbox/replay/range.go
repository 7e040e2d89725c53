package replay

import "github.com/outcrier/outcrier/outbox/position"

// Range is a stretch of a replay: the events of To that are not of From, with ids
// above After, in the order of their ids. Both ends are sets of transactions, so
// that a range is the same at any node and at any time.
type Range struct {
	From, To position.Position
	// After is the id after which to go on, within the range.
	After int64

	// plan is how its pages are read, once it is known.
	plan *plan
}

// Advance moves the range past a page of it.
func (r *Range) Advance(page Page) {
	r.After = page.After
	if page.plan != nil {
		r.plan = page.plan
	}
}

// Ranges returns the ranges from p to to: the rest of the read that p is in the middle of, if
// it is, and then all other events of to that p does not have; none if p already has
// everything. The position after all ranges is p joined with to.
func Ranges(p, to position.Position) []Range {
	var ranges []Range
	if p.Within != nil {
		from, end := p, p
		from.Within = nil
		end.Within, end.Given = nil, p.Given.Union(*p.Within)
		ranges = append(ranges, Range{From: from, To: end, After: p.EventID})
		p = end
	}
	if !p.Given.Covers(to.Given) {
		ranges = append(ranges, Range{From: p, To: p.Join(to)})
	}
	return ranges
}

// At returns the position of a reader that has received the range's events up to this id. The
// position refers to r.
func (r *Range) At(event int64) position.Position {
	p := r.To
	p.EventID = event
	p.Given, p.Within = r.From.Given, &r.To.Given
	p.Removal = r.From.Removal
	return p
}
