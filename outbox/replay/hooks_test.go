package replay

// Read has a search read at most so many ids.
func (m *Times) Read(ids int64) { m.most = ids }

// Hold takes the turn until leave is called.
func (m *Times) Hold() (leave func()) {
	m.turn <- struct{}{}
	return func() { <-m.turn }
}
