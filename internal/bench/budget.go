package bench

const (
	atMost  = "at most"
	atLeast = "at least"
)

// The budget: what the design promises, each row for the sizes that it was written
// for. Another machine may miss it, and another size has none.

// writersBudget is of the ratio to the same writers without trigger or watcher.
func writersBudget(writers int) *Budget {
	if writers < 8 || writers > 64 {
		return nil
	}
	return &Budget{Bound: atLeast, Value: 0.9}
}

// latencyBudget is of the ratio to a bare LISTEN and a fetch, at 50 events a second.
func latencyBudget(rate float64) *Budget {
	if rate != 50 {
		return nil
	}
	return &Budget{Bound: atMost, Value: 1.5}
}

// fanoutBudget is in seconds of the server's CPU for a million deliveries.
func fanoutBudget(streams int, p pace, payload int) *Budget {
	if payload != 200 {
		return nil
	}
	switch {
	case streams == 1000 && p == paced:
		return &Budget{Bound: atMost, Value: 9}
	case streams == 1000 && p == flatOut:
		return &Budget{Bound: atMost, Value: 1.8}
	case streams == 10_000 && p == paced:
		return &Budget{Bound: atMost, Value: 9.5}
	case streams == 10_000 && p == flatOut:
		return &Budget{Bound: atMost, Value: 2.6}
	}
	return nil
}

// idleBudget is in kB a stream.
func idleBudget(streams int) *Budget {
	if streams != 10_000 {
		return nil
	}
	return &Budget{Bound: atMost, Value: 6}
}

// replayBudget is of the ratio to COPY.
func replayBudget(held, missed int) *Budget {
	if held != 1_000_000 || missed != 100_000 {
		return nil
	}
	return &Budget{Bound: atLeast, Value: 0.5}
}

// stormBudget is in seconds, stormQueriesBudget in queries.
func stormBudget(streams int) *Budget {
	if streams != 10_000 {
		return nil
	}
	return &Budget{Bound: atMost, Value: 10}
}

func stormQueriesBudget(streams int) *Budget {
	if streams != 10_000 {
		return nil
	}
	return &Budget{Bound: atMost, Value: 100}
}

// tailBudget is in events a second.
func tailBudget() *Budget { return &Budget{Bound: atLeast, Value: 30_000} }
