package sse

import "github.com/outcrier/outcrier/outbox"

// stands returns the position that the reader remembers; or that of the snapshot which its
// page was rendered from, if that is later. A position that can't be read decides alone, so
// that what is lost is told.
func (s *Streamer) stands(from From) (outbox.Position, error) {
	p, err := s.Hub.Keys.Open(from.Position)
	if err != nil || from.Snapshot == "" {
		return p, err
	}
	if snapshot, malformed := s.Hub.Keys.Open(from.Snapshot); malformed == nil && snapshot.Covers(p) {
		return snapshot, nil
	}
	return p, nil
}
