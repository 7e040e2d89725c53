// Package sse is the live half of Outcrier: it turns the tail's reads into frames
// of Server-Sent Events (HTML Standard, 9.2) and brings them to any number of
// streams.
//
// # Concepts
//
// A [Frame] is an event in wire form, encoded once for all who follow it. The [Hub]
// takes the tail's reads and queues their frames at the subscriptions whose topics
// match. A [Subscription] is one reader's place in the hub, with a bounded queue.
//
// The [Streamer] serves streams. Each goes the same way:
//
//	subscribe ─► hello ─► replay ─► live ─► follow ─► goodbye
//	                        ▲                 │
//	                        └──── behind ◄────┘
//
// It subscribes, and gets the hub's position W with its place; says hello, with
// what became of the position that it came with; replays what W holds and that
// position does not; then follows what the hub has queued since W. When its queue
// overflows it is behind: the queue is dropped, and it goes back to replay from its
// own position. [Streamer.Poll] goes the same way for one answer. Replays are read
// from the [Ring], which holds the newest events, and from the table beneath it.
//
// # Invariants
//
//   - An event is either in W or queued: registering and copying W are one step.
//   - The hub waits for no reader, and a queue has a limit.
//   - A stream's last id is at every moment the position of what it was sent.
//   - Whole events leave in one write; no write is without a deadline.
//
// The package knows no SQL and no HTTP routes: what it needs of the table is [Past],
// what it needs of a response is [Writer].
package sse
