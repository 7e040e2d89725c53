package handlers

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse"
)

// Sampler keeps samples of a node's last minutes, and returns its state for the admin page.
type Sampler struct {
	Streamer   *sse.Streamer
	TailStatus func() tail.Status
	// Version and Settings are shown as they are.
	Version  string
	Settings map[string]string

	mu      sync.Mutex
	samples []audit.Sample
}

const (
	sampleEvery = 5 * time.Second
	// keptSamples cover ten minutes.
	keptSamples = 120
	// A stream is slow when a write has waited for its reader for slowAfter; at most
	// slowListed are listed.
	slowAfter, slowListed = 2 * time.Second, 20
)

// Run takes samples until ctx ends, and returns its cause.
func (p *Sampler) Run(ctx context.Context) error {
	at, before, following := time.Now(), p.TailStatus().Events, time.Now()
	for {
		// All nodes take samples at the same times, so that they can be added up.
		next := time.NewTimer(time.Until(time.Now().Truncate(sampleEvery).Add(sampleEvery)))
		select {
		case <-ctx.Done():
			next.Stop()
			return context.Cause(ctx)
		case <-next.C:
		}
		now, status := time.Now(), p.TailStatus()
		if status.Following {
			following = now
		}
		rate := float64(status.Events-before) / now.Sub(at).Seconds()
		p.add(audit.Sample{
			At: now.UTC().Round(sampleEvery), Events: math.Round(rate*100) / 100,
			Streams: p.Streamer.Open(), Lag: math.Round(now.Sub(following).Seconds()*100) / 100,
		})
		at, before = now, status.Events
	}
}

func (p *Sampler) add(s audit.Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.samples) == keptSamples {
		p.samples = p.samples[:copy(p.samples, p.samples[1:])]
	}
	p.samples = append(p.samples, s)
}

// About returns the node's present state, empty for nil.
func (p *Sampler) About() audit.About {
	about := audit.About{Settings: map[string]string{}, Samples: []audit.Sample{}, Slow: []audit.SlowStream{}}
	if p == nil {
		return about
	}
	about.Version = p.Version
	if p.Settings != nil {
		about.Settings = p.Settings
	}
	for _, slow := range p.Streamer.Slow(slowAfter, slowListed) {
		about.Slow = append(about.Slow, audit.SlowStream{Stream: slow.Number, For: math.Round(slow.For.Seconds()*10) / 10})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	about.Samples = append(about.Samples, p.samples...)
	return about
}
