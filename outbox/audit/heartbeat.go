package audit

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"time"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// beat is the heartbeat: it records that the node is alive, and returns the database's time.
func (a *Recorder) beat(ctx context.Context) (asked time.Time, err error) {
	var position *string
	var lag *time.Duration
	if a.State != nil {
		p, l := a.State()
		text := a.Keys.Seal(p)
		position, lag = &text, &l
	}
	a.mu.Lock()
	open := a.open
	a.mu.Unlock()
	var about *string
	if a.About != nil && a.beats%aboutEvery == 0 {
		encoded, err := json.Marshal(a.About())
		if err != nil {
			return asked, err
		}
		text := string(encoded)
		about = &text
	}
	ctx, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	err = database.InPool(ctx, a.Pool, a.Schema, func(q database.DB) error {
		return q.QueryRow(ctx, `SELECT outcrier.heartbeat($1, $2, $3, $4, $5, $6::text::jsonb)`, a.run, database.Clean(a.Node), open, position, lag, about).Scan(&asked)
	})
	if err == nil {
		a.beats++
	}
	return asked, err
}

// lostFor is for how long a node may be cut off, and go on with the records that others
// have ended. After an hour they may be in the chain.
const lostFor = 30 * time.Minute

// beginRun begins another run if the node was cut off for long, and has all open streams
// recorded once more, as those of that run.
func (a *Recorder) beginRun(heard time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.beaten.IsZero() && heard.Sub(a.beaten) > lostFor {
		a.run = newRun()
		for _, r := range a.streams {
			r.again()
		}
	}
	a.beaten = heard
}

func newRun() int64 { return rand.Int64N(1<<53-1) + 1 } //nolint:gosec // apart, not secret

// About is how a node describes itself, with every few heartbeats.
type About struct {
	Version string `json:"version"`
	// Settings are those that matter to who runs it, by the name of the flag.
	Settings map[string]string `json:"settings"`
	// Samples are the last ten minutes, the oldest first.
	Samples []Sample `json:"samples"`
	// Slow are streams whose readers don't keep up, the worst first, 20 at most.
	Slow []SlowStream `json:"slow"`
}

// Sample is the state of a node at one moment.
type Sample struct {
	At time.Time `json:"at"`
	// Events is how many events per second the tail has read since the sample
	// before, at whatever node they were appended.
	Events float64 `json:"events_per_s"`
	// Streams are open.
	Streams int `json:"streams"`
	// Lag is for how long the tail has not followed, in seconds.
	Lag float64 `json:"lag_s"`
}

// SlowStream is a stream whose reader does not keep up.
type SlowStream struct {
	Stream int64 `json:"stream"`
	// For is how long ago its reader last took something.
	For float64 `json:"for_s"`
}
