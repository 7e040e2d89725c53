// Package replay reads the events that an outbox has already, for readers who come back: a [Reader]
// verifies a client's position, and reads the events that another position holds and the
// client's does not, in pages. It is for nodes; an application that appends needs package
// outbox alone.
//
// The files, in the order of a reconnect: reader.go verifies a position, or finds one to start
// from; times.go finds where a time begins; range.go says which events are missing; plan.go decides how
// to read it, and replay.go reads a page, into memory.go's memory. Whether a position still
// holds is in outbox/internal/table, which package tail shares.
package replay
