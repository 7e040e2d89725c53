// Package e2e holds no code, only tests: of the command outcrier as a process of
// its own, read by clients that others wrote: Chromium, npm's eventsource,
// go-sse and curl.
//
// A test whose client is not installed is skipped; with the variable CI set it
// fails instead. OUTCRIER_SCREENSHOTS names a folder that keeps the screenshots
// of the browser tests.
package e2e
