// Package e2e holds no code, only tests: of the command outcrier as a process of
// its own, read by clients that others wrote: Chromium, npm's eventsource,
// go-sse and curl.
//
// A test whose client is not installed is skipped; with the variable CI set it
// fails instead. Where OUTCRIER_SCREENSHOTS names a folder, the tests of pages go through more
// states, and keep a picture of each in every look there: make pictures.
package e2e
