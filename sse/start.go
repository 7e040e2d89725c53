package sse

import (
	"context"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/hub"
)

// From is where a stream starts. The zero value is now: after all that this node has read
// when the stream is registered.
type From struct {
	// Position is a position as the client gave it, well-formed or not.
	Position string
	// Snapshot is another position, which the reader's page was rendered from. It counts
	// only together with Position, and if it is later.
	Snapshot string
	// Since is a time to start from.
	Since time.Time
	// Earliest starts with the oldest event held.
	Earliest bool
	// Last, when above 0, starts with so many of the newest events.
	Last int
}

// remembered returns the position that a stream starts from, if that needs no query.
func (s *Streamer) remembered(from From, w position.Position) (received position.Position, ok bool) {
	if from == (From{}) {
		return w, true
	}
	p, err := s.parseFrom(from)
	if err != nil {
		return p, false
	}
	return s.Hub.Buffer.Resumes(p, w)
}

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

// resolveStart finds the position that a stream starts from; w is the hub's. With a gap
// it is where the stream can go on.
func (s *Streamer) resolveStart(ctx context.Context, request Request, w position.Position) (position.Position, *position.Gap, error) {
	switch from := request.From; {
	case from.Position != "":
		p, err := s.parseFrom(from)
		if err != nil {
			s.Log.DebugContext(ctx, "malformed position", "err", err)
			since, err := s.oldest.get(ctx, s.Hub.Buffer.Past)
			return w, &position.Gap{Reason: position.Malformed, Since: since}, err
		}
		return s.validate(ctx, p, request.Filter, w)
	case from.Last > 0:
		received, err := s.lastOf(ctx, request.Filter, from.Last, w)
		return received, nil, err
	case from.Earliest:
		received, err := s.Hub.Buffer.Earliest(ctx, w)
		return received, nil, err
	case !from.Since.IsZero():
		received, err := s.Hub.Buffer.Before(ctx, from.Since, w)
		return received, nil, err
	}
	return w, nil, nil
}

// oldest caches the time of the oldest event held, so that invented positions cost no
// queries.
type oldest struct {
	turn  chan struct{} // has a token while it is used
	read  time.Time     // when since was read
	since time.Time
}

const oldestEvery = 10 * time.Second

func (o *oldest) get(ctx context.Context, past hub.Past) (time.Time, error) {
	select {
	case o.turn <- struct{}{}:
		defer func() { <-o.turn }()
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
	if !o.read.IsZero() && time.Since(o.read) < oldestEvery {
		return o.since, nil
	}
	since, err := past.Oldest(ctx)
	if err == nil {
		o.since, o.read = since, time.Now()
	}
	return since, err
}

// validate returns p if a reader can go on from there, and otherwise a gap and where to go on.
func (s *Streamer) validate(ctx context.Context, p position.Position, filter outbox.Filter, w position.Position) (position.Position, *position.Gap, error) {
	received, gap, err := s.Hub.Buffer.Verify(ctx, p, filter, w)
	if gap != nil && gap.Reason != position.Trimmed {
		received = w
	}
	return received, gap, err
}
