package main

const (
	atMost  = "at most"
	atLeast = "at least"
)

// The design's aims, each for the sizes that it was written for; other sizes have none.

// writersAim is of the ratio to the same writers on the table without triggers, which
// no node reads.
func writersAim(writers int) *Aim {
	if writers < 8 || writers > 64 {
		return nil
	}
	return &Aim{Bound: atLeast, Value: 0.9}
}

// latencyAim is of the ratio to a bare server, at 50 events a second.
func latencyAim(rate float64) *Aim {
	if rate != 50 {
		return nil
	}
	return &Aim{Bound: atMost, Value: 1.15}
}

// fanoutAim is in seconds of the server's CPU for a million deliveries.
func fanoutAim(streams int, p pace, payload int) *Aim {
	if payload != 200 {
		return nil
	}
	switch {
	case streams == 1000 && p == paced:
		return &Aim{Bound: atMost, Value: 9}
	case streams == 1000 && p == flatOut:
		return &Aim{Bound: atMost, Value: 1.8}
	case streams == 10_000 && p == paced:
		return &Aim{Bound: atMost, Value: 9.5}
	case streams == 10_000 && p == flatOut:
		return &Aim{Bound: atMost, Value: 2.6}
	}
	return nil
}

// idleAim is in kB a stream.
func idleAim(streams int) *Aim {
	if streams != 10_000 {
		return nil
	}
	return &Aim{Bound: atMost, Value: 6}
}

// replayAim is of the ratio to COPY.
func replayAim(held, missed int) *Aim {
	if held != 1_000_000 || missed != 100_000 {
		return nil
	}
	return &Aim{Bound: atLeast, Value: 0.5}
}

// stormAim is in seconds, stormQueriesAim in queries.
func stormAim(streams int) *Aim {
	if streams != 10_000 {
		return nil
	}
	return &Aim{Bound: atMost, Value: 10}
}

func stormQueriesAim(streams int) *Aim {
	if streams != 10_000 {
		return nil
	}
	return &Aim{Bound: atMost, Value: 100}
}

// tailAim is in events a second.
func tailAim() *Aim { return &Aim{Bound: atLeast, Value: 30_000} }

// fairAim is of the ratio to the same reader alone.
func fairAim(outbox int) *Aim {
	if outbox != 2_400_000 {
		return nil
	}
	return &Aim{Bound: atMost, Value: 3}
}
