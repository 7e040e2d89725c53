// Package table reads the table of events for the packages tail and replay alike: it decodes
// rows into events, turns a snapshot into a position, and verifies a position by what the table
// and the records of removals hold.
//
// It is apart from both because each would otherwise need the other: a tail verifies the
// position that it goes on from, and a replay that starts with a time needs the position of a
// snapshot.
package table
