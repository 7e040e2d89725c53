package handlers

import (
	"context"
	"sync"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse"
)

// Pulse keeps the last minutes of a node, for the charts of the admin page.
type Pulse struct {
	Streamer   *sse.Streamer
	TailStatus func() outbox.Status

	mu      sync.Mutex
	samples []Sample
}

// Sample is a node at one moment.
type Sample struct {
	At time.Time `json:"at"`
	// Events is how many events per second the tail has read since the sample
	// before, whatever node they were appended at.
	Events float64 `json:"events_per_s"`
	// Streams are open.
	Streams int `json:"streams"`
	// Lag is for how long the tail has not followed, in seconds.
	Lag float64 `json:"lag_s"`
}

const (
	pulseTurn = 2 * time.Second
	// pulseSamples are ten minutes.
	pulseSamples = 300
)

// Run takes samples until ctx ends, and returns its cause.
func (p *Pulse) Run(ctx context.Context) error {
	ticker := time.NewTicker(pulseTurn)
	defer ticker.Stop()
	at, before, following := time.Now(), p.TailStatus().Events, time.Now()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		now, tail := time.Now(), p.TailStatus()
		if tail.Following {
			following = now
		}
		p.add(Sample{
			At: now.UTC(), Events: float64(tail.Events-before) / now.Sub(at).Seconds(),
			Streams: p.Streamer.Open(), Lag: now.Sub(following).Seconds(),
		})
		at, before = now, tail.Events
	}
}

func (p *Pulse) add(s Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.samples) == pulseSamples {
		p.samples = p.samples[:copy(p.samples, p.samples[1:])]
	}
	p.samples = append(p.samples, s)
}

// Samples are the last ten minutes, the oldest first; none from nil.
func (p *Pulse) Samples() []Sample {
	if p == nil {
		return []Sample{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Sample{}, p.samples...)
}
