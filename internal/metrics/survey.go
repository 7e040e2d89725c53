package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/outcrier/outcrier/outbox/upkeep"
)

// surveyed caches the last answer of the database.
type surveyed struct {
	mu   sync.Mutex
	at   time.Time
	last upkeep.Survey
	err  error
	// sighted has the transactions whose start is not visible, and when each was first seen.
	sighted map[uint32]time.Time
}

// survey asks the database, at most once per surveyEvery. Requests that arrive meanwhile wait
// for the same answer.
func (s *surveyed) survey(from Sources) (upkeep.Survey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.at.IsZero() && time.Since(s.at) < surveyEvery {
		return s.last, s.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), surveyPatience)
	defer cancel()
	if s.last, s.err = from.Survey(ctx); s.err != nil {
		from.Log.DebugContext(ctx, "metrics without the database", "err", s.err)
	}
	s.at = time.Now()
	if s.err == nil {
		s.last.OldestInFlight = max(s.last.OldestInFlight, s.sight(s.last.Untimed))
	}
	return s.last, s.err
}

// sight returns how long ago the first of the transactions that are open was first seen.
func (s *surveyed) sight(open []uint32) (oldest time.Duration) {
	sighted := make(map[uint32]time.Time, len(open))
	for _, xid := range open {
		first, known := s.sighted[xid]
		if !known {
			first = s.at
		}
		sighted[xid] = first
		oldest = max(oldest, s.at.Sub(first))
	}
	s.sighted = sighted
	return oldest
}

func (w writer) survey(s upkeep.Survey) {
	w.gauge("in_flight_transactions", "Open transactions that have appended, or are about to.", float64(s.InFlight))
	w.gauge("in_flight_oldest_seconds", "How long the oldest of them has been open; of one whose time may not be seen, since the node first saw it.", s.OldestInFlight.Seconds())
	w.gauge("partitions_ahead", "Days after today that have a partition; -1 when today has none.", float64(s.DaysAhead))
	w.gauge("default_partition_rows", "Events in the default partition, as Postgres estimates it; 0 is right.", float64(s.DefaultRows))
	w.gauge("notification_queue_usage", "How full Postgres's queue of notifications is, from 0 to 1; from 0.5 on writers don't notify.", s.QueueUsage)
	w.gauge("scheduled_events", "Events that wait for their time.", float64(s.Scheduled))
	w.gauge("scheduled_failing_events", "Events that were due and could not be stored; they are tried again.", float64(s.Failing))
	w.gauge("scheduled_overdue_seconds", "By how much the first of them is past its time.", s.Overdue.Seconds())
}
