// Package position records what a reader has received, short enough for an event stream's
// id.
//
// A [Set] is a set of transactions: all up to one, except those that were in flight. It is
// what a snapshot of Postgres sees, and therefore what a reader of that snapshot has
// received. A [Position] is a reader's set, with the history that it belongs to and an
// [Anchor] in it. [Keys] seal a position, so that it tells a client nothing and can't be
// made up, and open it when it comes back.
//
// The files, in the order of writing one: set.go and position.go are the sets, pack.go turns a
// position into bytes and back, keys.go has the keys that the database holds, and seal.go seals
// and opens. gap.go says why a position can't be resumed.
//
// # Invariants
//
//   - A reader has received an event if and only if its transaction is in the reader's
//     set, or, in the middle of a read, its id is within the part of that read that the
//     reader has received. Ids, times and the order of commits play no part.
//   - M, the largest member of a set, is the xid of an event that was visible, or
//     [SettledXID]. It can't be handed out again, as the xids of aborted transactions are
//     after a crash.
//   - A position that is rounded down claims less than the reader has received, never more.
//
// The package asks the database for nothing but its keys, and imports no other one of
// Outcrier.
package position
