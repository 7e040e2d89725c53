package main

import (
	"fmt"
	"os"
	"time"
)

// syncCost is the median time of a sync after a small append in a folder, which is
// about what Postgres waits for at each commit.
func syncCost(folder string) (time.Duration, error) {
	file, err := os.CreateTemp(folder, "outcrier-bench-")
	if err != nil {
		return 0, fmt.Errorf("measure the cost of a sync: %w", err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	const syncs = 101
	times := make([]float64, 0, syncs)
	for range syncs {
		if _, err := file.Write(make([]byte, 512)); err != nil {
			return 0, fmt.Errorf("measure the cost of a sync: %w", err)
		}
		start := time.Now()
		if err := dataSync(file); err != nil {
			return 0, fmt.Errorf("measure the cost of a sync: %w", err)
		}
		times = append(times, float64(time.Since(start)))
	}
	return time.Duration(median(times)), nil
}
