package sse

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outcrier/outcrier/internal/outage"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/wire"
)

// Streamer serves streams: it replays the events that each has missed, joins it to the hub,
// and keeps it open until its reader leaves, stalls, or the server drains. Its fields are
// set before the first stream.
type Streamer struct {
	Hub *hub.Hub
	Log *slog.Logger
	// Node names this process in hello.
	Node string
	// Heartbeat is the longest time without a byte on a stream: 15 s by default.
	Heartbeat time.Duration
	// Stall is how long one write may take before the stream is ended: 30 s by
	// default.
	Stall time.Duration
	// Retry is the mean of the delays after which clients should reconnect, spread from
	// half to one and a half of it: 3 s by default.
	Retry time.Duration
	// DrainTime is the time over which Drain spreads the ends of streams: 5 s
	// by default.
	DrainTime time.Duration
	// MaxStreams is how many may be open at once; 0 is no limit.
	MaxStreams int

	open     atomic.Int64
	drain    sync.Once
	draining chan struct{}
	// empty is closed when no stream is left of those that Drain ends.
	empty   chan struct{}
	emptied sync.Once
	pool    writerPool
	counts  counts
	waiters waiters
	oldest  oldest
}

// NewStreamer makes a Streamer with the defaults. A nil log gets nothing.
func NewStreamer(h *hub.Hub, log *slog.Logger) *Streamer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Streamer{
		Hub: h, Log: log, Heartbeat: 15 * time.Second, Stall: 30 * time.Second,
		Retry: 3 * time.Second, DrainTime: 5 * time.Second, draining: make(chan struct{}), empty: make(chan struct{}), pool: newWriterPool(),
		waiters: waiters{outage: outage.Outage{Many: true}},
		oldest:  oldest{turn: make(chan struct{}, 1)},
	}
}

// Request is what a client asks of a stream.
type Request struct {
	Filter outbox.Filter
	Format wire.Format
	From   From
	// Until, for a poll, is the position to stop at; empty for none.
	Until string
	// MaxData, when above 0, is how many bytes an event may have on the stream, without its
	// id: the envelope of a larger one has dataref instead of data. It is for clients with
	// a bounded buffer, and not for Payload.
	MaxData int
	// Batch, when positive, is the window whose events are written together, as a JSON array.
	Batch time.Duration
	// Number identifies the stream in Slow, where it has no Record.
	Number int64
	// Reserve, when not nil, is called before a poll holds more bytes for its answer, and
	// reports whether there is room for them. Without room the answer ends there.
	Reserve func(bytes int) bool
	// Record, when not nil, begins the audit's record of the stream: from is the reader's
	// position before it. It is called again when the topics change.
	Record func(from position.Position, filter outbox.Filter) *audit.StreamRecord
	// Change handles a message of a WebSocket's client whose stream follows topics. It
	// returns the topics to follow from then on, and the refusals.
	Change func(ctx context.Context, change Change, topics []outbox.Pattern) ([]outbox.Pattern, []wire.Refused)
}

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

// Why a stream ended.
var (
	// ErrStalled: the reader took nothing for the stall time.
	ErrStalled = errors.New("the reader made no progress within the stall time")
	// ErrDraining: the server drains.
	ErrDraining error = wire.Draining
	// ErrFull: MaxStreams were open already.
	ErrFull error = &wire.Goodbye{Reason: "full", Text: "too many streams are open", Passes: true}
	// ErrNoRoom: Request.Reserve has no room for even one event.
	ErrNoRoom = errors.New("there is no room for the answer")
	// ErrLeft: the reader closed the connection.
	ErrLeft = errors.New("the reader left")
)

// Open returns how many streams and polls are open.
func (s *Streamer) Open() int { return int(s.open.Load()) }

// countIn counts a stream. countOut must be called, also after an error.
func (s *Streamer) countIn() error {
	switch n := s.open.Add(1); {
	case s.Draining():
		return ErrDraining
	case s.MaxStreams > 0 && int(n) > s.MaxStreams:
		return ErrFull
	}
	return nil
}

func (s *Streamer) countOut() {
	if s.open.Add(-1) == 0 && s.Draining() {
		s.emptied.Do(func() { close(s.empty) })
	}
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
