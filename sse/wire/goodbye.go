package wire

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/gobwas/ws"

	"github.com/outcrier/outcrier/outbox/position"
)

// Goodbye is a reason for the end of a stream that is sent to the reader, in the event
// outcrier.goodbye: cancel the context of a stream with it.
type Goodbye struct {
	// Reason is a word for programs, like "token_expired".
	Reason string
	// Text is for people.
	Text string
	// Passes is set for a reason that passes: the client is to come back later.
	Passes bool
}

func (g *Goodbye) Error() string { return g.Text }

// Draining is the reason of all streams that end because the server shuts down.
var Draining = &Goodbye{Reason: "drain", Text: "the server drains"}

// Ending is why and where a stream ends.
type Ending struct {
	// Goodbye is the reason that is sent to the reader; nil for none.
	Goodbye *Goodbye
	// Closing is how a WebSocket answers what its client sent; nil for none.
	Closing *Closing
	// At is the last position that the reader was sent, the zero value for none.
	At position.Position
	// Retry is the mean of the delays after which to reconnect.
	Retry time.Duration
}

// Closing is how a WebSocket is closed because of what its client sent: its own close, or a
// mistake.
type Closing struct {
	// Code is the status code of the close frame, 0 for a frame without one.
	Code ws.StatusCode
	// Reason is the text of the close frame.
	Reason string
	// Refused, when not nil, is sent before, as the event outcrier.error.
	Refused *Refused
}

// appendGoodbye appends a goodbye in SSE; retry is the mean.
func appendGoodbye(dst []byte, why *Goodbye, retry time.Duration) []byte {
	dst = append(dst, "event: outcrier.goodbye\n"...)
	dst = appendRetry(dst, retry)
	return fmt.Appendf(dst, "data: {\"reason\":%q}\n\n", why.Reason)
}

// appendRetry appends the SSE field retry: a delay of its own for each stream.
func appendRetry(dst []byte, mean time.Duration) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, jittered(mean).Milliseconds(), 10)
	return append(dst, '\n')
}

// jittered spreads a delay from half to one and a half of it: so that clients that were
// dropped together don't come back together. Never 0, after which Chromium would hammer.
func jittered(mean time.Duration) time.Duration {
	return max(time.Millisecond, mean/2+rand.N(mean+1))
}
