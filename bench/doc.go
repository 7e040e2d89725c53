// Command outcrier-bench measures an Outcrier from outside, as its users meet it: rows go
// in by SQL, events come out of HTTP streams, and whatever can be compared is
// measured side by side in one run.
//
// # Concepts
//
// A measure is a row of what the design aims at. Its rounds alternate with those of the
// measures that it is compared with, several runs of each, and reports a [Figure] for each
// variant.
//
// A writer numbers its events on each topic from 1; every payload begins with a mark that
// carries the number. The crowd is any number of streams, each of which checks the numbers:
// one that is skipped is lost, one that comes again is repeated. So speed is never reported
// without its losses.
//
// The target is a Postgres with an outbox, and a server on it. The bench starts its own
// unless the settings name others.
package main
