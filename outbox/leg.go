package outbox

// Leg is a stretch of a replay: the events of To that are not of From, with ids
// above After, in the order of their ids. Both ends are sets of transactions, so
// that a leg is the same at any node and at any time.
type Leg struct {
	From, To Position
	// After is the id after which to go on, within the leg.
	After int64

	// plan is how its pages are read, once it is known.
	plan *plan
}

// Advance moves the leg past a page of it.
func (l *Leg) Advance(page Page) {
	l.After = page.After
	if page.plan != nil {
		l.plan = page.plan
	}
}

// Legs returns the legs from p to to: the rest of the read that p is in the middle of, if
// it is, and then all other events of to that p does not have; none if p already has
// everything. The position after all legs is p joined with to.
func (p Position) Legs(to Position) []Leg {
	var legs []Leg
	if p.Within != nil {
		from, end := p, p
		from.Within = nil
		end.Within, end.Given = nil, p.Given.Union(*p.Within)
		legs = append(legs, Leg{From: from, To: end, After: p.EventID})
		p = end
	}
	if !p.Given.Covers(to.Given) {
		legs = append(legs, Leg{From: p, To: p.Join(to)})
	}
	return legs
}

// Join returns the position of a reader that has received all events of p and of q, neither
// of which is in the middle of a read.
func (p Position) Join(q Position) Position {
	p.Given = p.Given.Union(q.Given)
	if q.Anchor.XID > p.Anchor.XID {
		p.Anchor = q.Anchor
	}
	p.EventID = max(p.EventID, q.EventID)
	p.Removal = max(p.Removal, q.Removal)
	return p
}

// At returns the position of a reader that has received the leg's events up to this id. The
// position refers to l.
func (l *Leg) At(event int64) Position {
	p := l.To
	p.EventID = event
	p.Given, p.Within = l.From.Given, &l.To.Given
	p.Removal = l.From.Removal
	return p
}
