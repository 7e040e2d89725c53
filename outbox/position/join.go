package position

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
