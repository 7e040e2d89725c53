package hub

import "sync/atomic"

// Stats is the state of a hub and its replay buffer at one moment, and what they have counted
// since the process began.
type Stats struct {
	// Waiting are the streams and polls that wait for their turn to read the table.
	Waiting int
	// Memory and Table count the pages that the replay buffer and the table gave, to streams
	// and to polls.
	Memory, Table Pages
	// Lagged counts the queues that were full and dropped, FellBehind those whose missing
	// frames the replay buffer did not have any more.
	Lagged, FellBehind int64
	// BufferBytes is about what the replay buffer holds, BufferEvents how many, BufferLimit the
	// bytes that it may hold.
	BufferBytes, BufferEvents, BufferLimit int
}

// Pages counts pages of replays, and the events in them.
type Pages struct{ Pages, Events int64 }

// Stats returns the state now.
func (h *Hub) Stats() Stats {
	b := h.Buffer
	st := Stats{
		Waiting: b.pages.Waiting() + b.large.Waiting() + b.starts.Waiting(),
		Memory:  b.memory.pages(), Table: b.table.pages(), FellBehind: b.behind.Load(),
	}
	st.BufferBytes, st.BufferEvents, st.BufferLimit = b.held()
	h.mu.Lock()
	defer h.mu.Unlock()
	st.Lagged = h.lagged
	return st
}

// held returns the replay buffer's size, in bytes and events, and its limit.
func (b *Buffer) held() (bytes, events, limit int) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.bytes, int(b.serial - b.oldest() + 1), b.limit() // serials rise by one
}

// source counts the pages that one of the two sources of a replay gave.
type source struct{ read, events atomic.Int64 }

func (s *source) count(events int) {
	s.read.Add(1)
	s.events.Add(int64(events))
}

func (s *source) pages() Pages { return Pages{s.read.Load(), s.events.Load()} }
