package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// pace is how appends follow each other.
type pace string

const (
	// paced: at even intervals.
	paced pace = "paced"
	// poisson: at random, like those of many who know nothing of each other.
	poisson pace = "Poisson"
	// flatOut: as fast as the slowest stream takes them.
	flatOut pace = "flat out"
)

// clock tells when the next append is due, whether or not the last one was late: a slow
// server must not slow down the load that measures it.
type clock struct {
	pace pace
	rate float64 // a second
	next time.Time
}

func newClock(p pace, rate float64) *clock { return &clock{p, rate, time.Now()} }

// tick waits until the next append is due.
func (c *clock) tick(ctx context.Context) error {
	interval := 1 / c.rate
	if c.pace == poisson {
		interval *= rand.ExpFloat64()
	}
	c.next = c.next.Add(time.Duration(interval * float64(time.Second)))
	return sleep(ctx, time.Until(c.next))
}
