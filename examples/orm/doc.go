// Package orm has one program for each of some thirty ORMs and drivers: the model of the
// view outbox and its inserts, as they are written there. README.md has the results.
package orm
