// Package tail follows the commits of an outbox: [Tail] passes each event to Tail.Deliver in
// exactly one [Read], in whatever order transactions commit. It is for nodes; an application
// that appends needs package outbox alone.
//
// The files, in the order of a commit: tail.go connects; begin.go says where the tail begins;
// follow.go decides when to read and when to sleep; wakeup.go and request.go have writers wake a
// tail that sleeps, selftest.go finds out whether that works, and flow.go when it is not needed;
// deliver.go delivers the events that read.go reads; erased.go ends a read during which events
// were erased; guard.go finds out that the primary is another one; status.go says how the tail
// is, and clock.go by how much the clocks differ. The meaning of a row and of a snapshot is in
// outbox/internal/table, which package replay shares.
package tail
