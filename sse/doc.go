// Package sse serves streams: it brings the hub's frames to any number of readers, as
// Server-Sent Events (HTML Standard, 9.2) and otherwise.
//
// # Concepts
//
// The package has two packages beneath it. The [hub.Hub] takes the tail's reads and queues
// their frames at the subscriptions whose topics match; its [hub.Buffer], the replay buffer,
// holds the newest frames. How events look on the wire is the encoder's alone (package
// [wire]): plain SSE, compressed, in batches, or as the messages of a WebSocket. A
// [wire.Frame] is encoded once for all who follow it.
//
// The [Streamer] serves streams. Each goes the same way:
//
//	subscribe ─► hello ─► replay ─► live ─► follow ─► goodbye
//	                        ▲                 │
//	                        └──── behind ◄────┘
//
// It subscribes, and gets the hub's position W with its place; says hello, which reports
// whether the client's position was resumed; replays the events that W has and that
// position has not; then follows the frames that the hub has queued since W. When its queue
// overflows it lags: the queue is dropped, and its frames and later ones are recalled from
// the replay buffer. When the replay buffer does not hold those any more the stream is
// behind, and goes back to replay from its own position. [Streamer.Poll] goes the same way
// for one answer. Replays are read from the replay buffer too, if it goes back far enough,
// and otherwise from the table.
//
// A stream has two halves. What decides (replay, live, the position, the topics) is the
// stream; what writes (the bytes to be sent next, the encoder, the stall time, the last position,
// its place in the pool) is its writer.
//
// A stream has a goroutine as long as it may have to wait: for the table, or for a slow
// reader. A live one on a [Socket] is parked with a pool of a few workers, which is
// called when frames, a heartbeat, or the end are due, and writes what the socket takes at
// once. One with batches keeps its goroutine, which lets frames wait in the queue until its
// window is over, and then writes them as one event: a JSON array of the frames' shared
// bytes, whose id is the position after the last of them.
//
// What the client of a WebSocket sends waits in an inbox until the stream's goroutine has
// time for it: then the topics change, at a position that the client learns.
//
// # Invariants
//
// Those of the hub are in package [hub]. Of streams:
//
//   - A stream's last id is at every moment the position of the events that were sent on
//     it.
//   - Whole events leave in one write; no write that waits is without a deadline.
//   - One goroutine at a time has a stream.
//   - The tail says when events were erased or changed. From then on no reader receives
//     events that were read earlier, except in one write that already waits for it: by the
//     hub's count of erasures a page, a batch or a poll knows that it is older.
//   - Events on no topic, which report erasures, go to no stream. Positions advance over
//     them.
//
// The package knows no SQL and no HTTP routes: [hub.Past] is its interface to the table,
// [Writer] that to a response. The way of an event from function to function is in
// docs/architecture.md. Why connections are taken over, why gzip is shared, why there
// is a replay buffer: docs/decisions, 8 to 10 and 14.
package sse
