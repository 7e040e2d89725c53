package fair

// Used returns how many bytes are held by all.
func (b *Bytes) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Places returns how many places there are.
func (q *Queue) Places() int { return q.places }

// Used returns how many places are taken.
func (q *Queue) Used() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used
}
