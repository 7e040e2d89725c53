// Package tail follows the commits of an outbox: [Tail] passes each event to Tail.Deliver in
// exactly one [Read], in whatever order transactions commit. It is for nodes; an application
// that appends needs package outbox alone.
//
// The files, in the order of a commit: tail.go connects and follows; wakeup.go has writers wake
// a tail that sleeps, and flow.go says when it need not; read.go reads the new events; erased.go
// ends a read during which events were erased; guard.go finds out that the primary is another
// one; status.go says how the tail is. What a row or a snapshot means is in
// outbox/internal/table, which package replay shares.
package tail
