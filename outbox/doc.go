// Package outbox is what an application imports: it appends events in the caller's
// transaction. The packages beneath it follow commits, and replay the events that a reader has
// missed.
//
// # Concepts
//
// An [Event] is a committed row of the table event, which applications write through the
// view outbox; a [Draft] is one that has not been written yet. [Append] writes drafts in
// the caller's transaction, so that the events exist exactly when its business change does.
// A [Schema] is where the tables are.
//
// An application that appends needs Append, the types above and [Refused], which explains why
// an event was not stored; the rest is for nodes. The package needs no module but pgx.
// Beneath it, for nodes, are outbox/tail and outbox/replay, of which below; outbox/audit, the
// record of streams and of admins; outbox/admin, for people who run an outbox;
// outbox/catalogue, the types of events; and outbox/upkeep, which drops past partitions and
// moves scheduled events.
//
// Package outbox/jsonschema, imported for that alone, holds payloads to the catalogue's
// schemas, and outbox/opentelemetry has appends take part in traces.
//
// A position (package outbox/position) is what a reader has received: a set of
// transactions, written short enough for an event stream's id.
//
// A tail (package outbox/tail) follows commits. Each read is the difference of two snapshots, so that
// every event is in exactly one, whatever the order of commits:
//
//	            xid 7 ──────insert────────────────commit
//	            xid 8 ───insert──commit             │
//	                               │                │
//	read        ▲                  ▲                ▲
//	C = (M,X)   (6, ∅)             (8, {7})         (8, ∅)
//	delivers                       8's events       7's events
//
// Rows on no topic are no events: a change of events (an erasure, an UPDATE by hand)
// appends one in its own transaction, and the read that has it says so, in its field
// Forget. Rows that come from another cluster are settled: they count as committed
// before all others, in a transaction 3 that is in every set.
//
// A reader of package outbox/replay verifies a client's position and reads the events that another
// position holds and the client's does not, in pages. The set of these events is a range,
// and is the same at any node and at any time.
//
// # Sessions
//
// A session of [Connect] or [PoolConfig] depends on no setting of a role, a database or a
// URL: the package reads its settings when it is new, and corrects them. With a pooler in
// between, where sessions are shared, it sets them in each transaction. All names in SQL
// are qualified, so that the search_path does not matter, not even the caller's, in which
// [Append] runs.
//
// # Invariants
//
//   - Within a read and within a range events are in the order of their ids, which is
//     the order of appends wherever there is one.
//   - A position that can't be honoured is answered by a gap, never by silence.
//
// The argument is in docs/guarantees.md, the writers' side in package migrations, the way
// of an event from function to function in docs/architecture.md. Why snapshots and sets:
// docs/decisions, 6 and 7; why pgx alone: 15.
package outbox
