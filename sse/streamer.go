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
