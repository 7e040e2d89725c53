package replay

import (
	"sync"

	"github.com/outcrier/outcrier/outbox"
)

// memory is what pages of many events are read into, one after the other.
type memory struct {
	events []outbox.Event
	arena  []byte
	kept   int // in the last page
}

var memories = sync.Pool{New: func() any { return new(memory) }}

// take returns room for as many events and bytes as the last page had.
func (m *memory) take() (events []outbox.Event, arena []byte) {
	if m.kept > cap(m.arena) {
		m.arena = make([]byte, 0, m.kept)
	}
	return m.events[:0], m.arena[:0]
}

// put takes the memory back, from a page with these events.
func (m *memory) put(events []outbox.Event) {
	clear(events)
	m.events = events
	memories.Put(m)
}
