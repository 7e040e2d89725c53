package sse

import "github.com/outcrier/outcrier/outbox/position"

// parseFrom returns the position that the reader remembers, or that of the snapshot that its
// page was rendered from, if that is later. A malformed position is returned in any case,
// so that the reader gets its gap.
func (s *Streamer) parseFrom(from From) (position.Position, error) {
	p, err := s.Hub.Keys.Open(from.Position)
	if err != nil || from.Snapshot == "" {
		return p, err
	}
	if snapshot, malformed := s.Hub.Keys.Open(from.Snapshot); malformed == nil && snapshot.Covers(p) {
		return snapshot, nil
	}
	return p, nil
}
