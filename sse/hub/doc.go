// Package hub is the fan-out of the live half: it takes the tail's reads, makes a frame of each
// event, and queues it at the subscriptions whose topics match. It keeps the newest frames in
// memory. It knows no connection and no stream: a [Reader] is notified, and takes its frames.
//
//	tail ─► Hub.Deliver ─► Buffer (the newest reads, as frames)
//	              │             ▲
//	              ▼             │ recall: what a full queue dropped
//	        index: who follows the topic
//	              │             │
//	              ▼             │
//	        Subscription: a bounded queue ─► Reader.Notify ─► Subscription.Take
//
// A [Subscription] has its frames in its queue (current), then, when the queue was full, in the
// replay buffer (lagging), and when that has evicted them too, nowhere (behind): its reader
// replays from its own position, and rejoins.
//
// A [Buffer] is also where replays read: from memory, by [Buffer.Page], as far as that goes
// back, and else from the table, its [Past], a few at a time.
//
// # Invariants
//
//   - An event is either in the hub's position, W, or queued: to register and to copy W is one
//     step ([Hub.Subscribe]).
//   - The hub waits for no reader, and a queue has a limit.
//   - What waits in a queue is in the replay buffer as well, or was until that was last
//     refilled: all queues together hold no more than another replay buffer.
//   - When events were erased or changed, all queues and the replay buffer are emptied, and
//     [Hub.Erasures] is raised: events that were read before must not be sent.
package hub
