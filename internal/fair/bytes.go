package fair

import "sync"

// Bytes bounds how many bytes are held in memory at a time, for one principal and for all.
// Requests don't wait for memory: beyond the limit they are refused, or made smaller.
type Bytes struct {
	all, each int64 // 0 for no limit

	mu   sync.Mutex
	used int64
	by   map[string]int64 // no zeros
}

// NewBytes returns limits for all principals together and for each; 0 is no limit.
func NewBytes(all, each int64) *Bytes { return &Bytes{all: all, each: each, by: map[string]int64{}} }

// Verdict is why bytes were refused.
type Verdict int

// Granted is the verdict where they were granted.
const (
	Granted Verdict = iota
	OverOwn
	OverAll
)

// Share is what one request of a principal holds. It is used by one goroutine at a time.
type Share struct {
	bytes     *Bytes
	principal string
	held      int64
}

// Open begins a share, which holds nothing. Close must follow.
func (b *Bytes) Open(principal string) *Share { return &Share{bytes: b, principal: principal} }

// Take adds bytes to the share, all of them or none.
func (s *Share) Take(n int64) Verdict {
	b := s.bytes
	b.mu.Lock()
	defer b.mu.Unlock()
	switch own := b.by[s.principal]; {
	case n <= 0:
		return Granted
	case b.each > 0 && own+n > b.each:
		return OverOwn
	case b.all > 0 && b.used+n > b.all:
		return OverAll
	}
	b.used += n
	b.by[s.principal] += n
	s.held += n
	return Granted
}

// Close releases all bytes of the share.
func (s *Share) Close() {
	b := s.bytes
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= s.held
	if b.by[s.principal] -= s.held; b.by[s.principal] == 0 {
		delete(b.by, s.principal)
	}
	s.held = 0
}

// All returns the limit for all principals together.
func (b *Bytes) All() int64 { return b.all }

// Each returns the limit for one principal.
func (b *Bytes) Each() int64 { return b.each }
