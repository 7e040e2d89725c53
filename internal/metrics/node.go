package metrics

import (
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse"
)

// tailState is why a tail follows, or does not, in a word.
func tailState(s tail.Status) string {
	switch {
	case s.Following:
		return "following"
	case s.Err == nil:
		return "starting"
	case errors.Is(s.Err, outbox.ErrStandby):
		return "standby"
	case errors.Is(s.Err, outbox.ErrNotMigrated):
		return "not_migrated"
	}
	if _, permanent := outbox.Explain(s.Err); permanent {
		return "refused"
	}
	return "disconnected"
}

func (w writer) tail(s tail.Status) {
	for _, state := range []string{"following", "starting", "standby", "not_migrated", "refused", "disconnected"} {
		w.flag("tail_state", "1 for the state that the tail is in.", state == tailState(s), "state", state)
	}
	for _, state := range []tail.Listen{tail.ListenOff, tail.ListenTesting, tail.ListenWorks, tail.ListenUnheard, tail.ListenQueueFull} {
		w.flag("listen_state", "1 for what the tail knows of LISTEN on its connection.", state == s.Listen, "state", string(state))
	}
	w.gauge("tail_lag_seconds", "Seconds since the tail was last known to have delivered every commit; 0 when idle.", s.Lag.Seconds())
	w.counter("tail_sessions_total", "Connections that the tail has begun to follow on.", s.Sessions)
	w.counter("tail_reads_total", "Reads of the tail.", s.Reads)
	w.counter("tail_events_total", "Events that the tail has handed out.", s.Events)
	w.counter("tail_caught_events_total", "Events that only the poll of an idle tail found, although a notification should have come; stays 0.", s.Caught)
	w.histogram("tail_read_seconds", "Time of a read that had events, from asking to the end.", s.Read)
	w.histogram("append_to_dispatch_seconds", "Time from an event's created_at, when it was appended, to its being handed out; what its transaction stayed open is in there.", s.Dispatch)
	w.gauge("transactions_in_progress", "Transactions of the whole cluster that were in progress at the last read.", float64(s.InProgress))
	if s.ClockKnown {
		w.gauge("clock_difference_seconds", "By how much the clock of Postgres is ahead of this node's.", s.ClockAhead.Seconds())
	}
	w.counter("wake_up_requests_total", "Times that the tail has requested to be woken.", s.WakeUps.Requests)
	w.counter("notifications_total", "Notifications of writers that the tail has heard.", s.WakeUps.Notifications)
	w.counter("wake_up_answers_total", "Times that the tail has answered a request, so that writers notify no more.", s.WakeUps.Answers)
	w.counter("listen_self_tests_total", "Times that LISTEN was tested, and works.", s.WakeUps.SelfTests)
}

func (w writer) keys(s auth.Status) {
	age := time.Since(s.Fetched).Seconds()
	switch {
	case !s.JWKS:
		age = 0
	case s.Fetched.IsZero():
		age = math.Inf(1)
	}
	w.gauge("keys", "Keys that tokens are verified with.", float64(s.Keys))
	w.gauge("jwks_age_seconds", "How long ago the JWKS was last fetched: +Inf if it never was, 0 without one.", age)
	w.counter("jwks_failures_total", "Fetches of the JWKS that failed.", s.Failures)
	w.flag("jwks_stale", "1 while the keys of the JWKS are too old to be trusted.", s.Stale)
}

func (w writer) streams(s sse.Stats) {
	const subscriptions = "Streams and polls that have a place at the hub, by state."
	w.gauge("subscriptions", subscriptions, float64(s.Parked), "state", "parked")
	w.gauge("subscriptions", subscriptions, float64(s.Current), "state", "current")
	w.gauge("subscriptions", subscriptions, float64(s.Lagging), "state", "lagging")
	w.gauge("subscriptions", subscriptions, float64(s.Behind), "state", "behind")
	w.gauge("streams_open", "Streams and polls that are open.", float64(s.Open))
	w.flag("draining", "1 while the node drains.", s.Draining)
	w.gauge("queued_frames", "Frames that wait in the queues of all subscriptions.", float64(s.Queued))
	w.counter("sent_events_total", "Events written to streams, each once for each stream.", s.Events)
	w.counter("sent_bytes_total", "Bytes written to streams.", s.Bytes)
	w.counter("writes_total", "Writes to streams.", s.Writes)
	w.histogram("dispatch_to_socket_seconds", "Time from the first live event of a write being handed out to the end of the write.", s.Dispatch)
	w.gauge("replays_waiting", "Streams and polls that wait for their turn to read the table.", float64(s.Waiting))
	w.counter("replays_total", "Replays of streams that had a stretch to go.", s.Replays)
	const pages, events = "Pages of replays, by where they came from.", "Events in pages of replays, by where they came from."
	w.counter("replay_pages_total", pages, s.Memory.Pages, "source", "memory")
	w.counter("replay_pages_total", pages, s.Table.Pages, "source", "table")
	w.counter("replay_events_total", events, s.Memory.Events, "source", "memory")
	w.counter("replay_events_total", events, s.Table.Events, "source", "table")
	w.counter("polls_total", "Long polls that were answered.", s.Polls)
	w.counter("queue_overflows_total", "Queues of subscriptions that were full and dropped.", s.Lagged)
	w.counter("fallen_behind_total", "Subscriptions whose missing frames the replay buffer did not have any more.", s.FellBehind)
	w.by("gaps_total", "Gaps that readers were told of, by reason.", s.Gaps, "trimmed", "malformed", "other_history", "ahead")
	w.by("streams_ended_total", "Streams that have ended, by reason.", s.Ended,
		"left", "lost", "stalled", "failed", "refused", "drain", "full", "token_expired", "key_withdrawn", "keys_unavailable", "revoked", "token_revoked", "ended")
	w.gauge("replay_buffer_bytes", "Bytes that the replay buffer holds, about.", float64(s.BufferBytes))
	w.gauge("replay_buffer_limit_bytes", "Bytes that the replay buffer may hold.", float64(s.BufferLimit))
	w.gauge("replay_buffer_events", "Events that the replay buffer holds.", float64(s.BufferEvents))
}

// by writes a counter for each reason; known ones are written also while they are 0.
func (w writer) by(name, help string, counted map[string]int64, known ...string) {
	for _, reason := range known {
		w.counter(name, help, counted[reason], "reason", reason)
	}
	for _, reason := range slices.Sorted(maps.Keys(counted)) {
		if !slices.Contains(known, reason) {
			w.counter(name, help, counted[reason], "reason", reason)
		}
	}
}

func (w writer) routes(r *handlers.Refusals, t *handlers.Traffic) {
	const readers = "Streams and polls that are open, by how they came."
	w.gauge("readers", readers, float64(t.HTTP1.Load()), "protocol", "http1")
	w.gauge("readers", readers, float64(t.HTTP2.Load()), "protocol", "http2")
	w.gauge("readers", readers, float64(t.WebSocket.Load()), "protocol", "websocket")
	w.gauge("readers", readers, float64(t.Polls.Load()), "protocol", "poll")
	w.counter("append_requests_total", "Requests that have appended.", t.Appends.Load())
	w.counter("appended_events_total", "Events appended by requests.", t.Appended.Load())
	w.by("refusals_total", "Requests that were refused, by reason.", map[string]int64{
		"no_token": r.NoToken.Load(), "bad_token": r.BadToken.Load(), "expired": r.Expired.Load(), "forbidden": r.Forbidden.Load(),
		"cross_site": r.CrossSite.Load(), "too_many": r.TooMany.Load(), "unavailable": r.Unavailable.Load(), "no_room": r.NoRoom.Load(),
	})
}

func (w writer) pool(s *pgxpool.Stat) {
	const connections = "Connections of the pool, by state."
	w.gauge("pool_connections", connections, float64(s.AcquiredConns()), "state", "in_use")
	w.gauge("pool_connections", connections, float64(s.IdleConns()), "state", "idle")
	w.gauge("pool_connections", connections, float64(s.ConstructingConns()), "state", "connecting")
	w.gauge("pool_limit_connections", "Connections that the pool may have.", float64(s.MaxConns()))
	w.counter("pool_acquires_total", "Times that a connection was taken.", s.AcquireCount())
	w.counter("pool_waits_total", "Times that none was free, and one had to be waited for.", s.EmptyAcquireCount())
	w.counter("pool_canceled_total", "Times that the wait was given up.", s.CanceledAcquireCount())
	w.write(prometheus.CounterValue, "pool_acquire_seconds_total", "Time that taking connections has taken in all.", s.AcquireDuration().Seconds(), nil)
}
