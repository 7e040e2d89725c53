package printed

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"
)

// Follower reads a stream on WebSockets, as docs/protocol.md describes it.
type Follower struct {
	position string
	retry    time.Duration
}

// Follow opens one socket after another by a function which gives each message to the
// Follower, and returns when the socket has ended.
func Follow(open func(address string, f *Follower) error) {
	f := &Follower{retry: time.Second}
	for {
		address, err := url.Parse(URL())
		Check(err)
		query := address.Query()
		if f.position != "" {
			query.Set("last_event_id", f.position)
		}
		address.RawQuery = query.Encode()
		_ = open(address.String(), f) // whatever the end was
		time.Sleep(f.retry)
	}
}

// Message takes a message.
func (f *Follower) Message(text []byte) {
	var m struct {
		Position string
		Event    struct {
			Type string
			Data struct{ Retry int64 }
		}
	}
	Check(json.Unmarshal(text, &m))
	if ms := m.Event.Data.Retry; ms > 0 {
		f.retry = time.Duration(ms) * time.Millisecond
	}
	if !strings.HasPrefix(m.Event.Type, "outcrier.") {
		Event(m.Position, m.Event.Type, string(text))
	}
	if m.Position != "" {
		f.position = m.Position
	}
}
