package main

import "sync/atomic"

// Count says how many events streams received, and how many were wrong.
type Count struct {
	// Deliveries are the events received.
	Deliveries int64 `json:"deliveries"`
	// Lost are the events that a stream skipped, or did not get in the end.
	Lost int64 `json:"lost"`
	// Repeated are the events that came again, or after a later one of the same writer.
	Repeated int64 `json:"repeated"`
}

func (c *Count) add(other Count) {
	c.Deliveries += other.Deliveries
	c.Lost += other.Lost
	c.Repeated += other.Repeated
}

func (c Count) minus(other Count) Count {
	return Count{c.Deliveries - other.Deliveries, c.Lost - other.Lost, c.Repeated - other.Repeated}
}

// tally counts the events that one stream receives. One goroutine counts, any may read.
type tally struct {
	// last is the number of the last event of each writer.
	last                       []int64
	deliveries, lost, repeated atomic.Int64
	// reached is the sum of last: how far the stream has come, whatever it has
	// skipped.
	reached atomic.Int64
}

// take notes an event. Each writer's numbers rise by one.
func (t *tally) take(m mark) {
	t.deliveries.Add(1)
	for len(t.last) <= m.writer {
		t.last = append(t.last, 0)
	}
	last := t.last[m.writer]
	if m.number <= last {
		t.repeated.Add(1)
		return
	}
	t.lost.Add(m.number - last - 1)
	t.last[m.writer] = m.number
	t.reached.Add(m.number - last)
}

func (t *tally) count() Count {
	return Count{t.deliveries.Load(), t.lost.Load(), t.repeated.Load()}
}
