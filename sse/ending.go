package sse

import (
	"errors"
	"time"

	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/wire"
)

// Orderly reports whether the server has ended the stream with a goodbye. The response of
// any other stream must be cut off.
func Orderly(why error) bool { return goodbyeOf(why) != nil }

// goodbyeOf returns the Goodbye that a stream ends with, nil if there is none.
func goodbyeOf(why error) *wire.Goodbye {
	var g *wire.Goodbye
	errors.As(why, &g) // otherwise it stays nil
	return g
}

// endingOf returns how a stream that ends because of why says so to its reader.
func endingOf(why error, at position.Position, retry time.Duration) wire.Ending {
	e := wire.Ending{Goodbye: goodbyeOf(why), At: at, Retry: retry}
	if c := (*closing)(nil); e.Goodbye == nil && errors.As(why, &c) {
		e.Closing = &c.Closing
	}
	return e
}
