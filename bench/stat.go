package main

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
)

// median is the middle of values, the mean of the two middle ones where they are
// even in number; NaN for none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// quantile is the smallest of sorted that at least the share q of them are not
// above; NaN for none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// ratios divides run by run, so that figures measured side by side are compared.
func ratios(of, to []float64) []float64 {
	divided := make([]float64, min(len(of), len(to)))
	for i := range divided {
		divided[i] = of[i] / to[i]
	}
	return divided
}

// histogram counts durations in buckets whose width is at most 1/16 of what they
// hold, so that millions cost no memory. Any goroutine may add.
type histogram struct {
	buckets [16 * 60]atomic.Int64
}

func bucketOf(d time.Duration) int {
	n := uint64(max(0, d))
	if n < 16 {
		return int(n)
	}
	shift := bits.Len64(n) - 5
	return 16*(shift+1) + int(n>>shift) - 16
}

// upperOf is the largest duration in a bucket.
func upperOf(bucket int) time.Duration {
	if bucket < 16 {
		return time.Duration(bucket)
	}
	shift := bucket/16 - 1
	return time.Duration(uint64(bucket%16+17)<<shift - 1)
}

func (h *histogram) add(d time.Duration) { h.buckets[bucketOf(d)].Add(1) }

func (h *histogram) reset() {
	for i := range h.buckets {
		h.buckets[i].Store(0)
	}
}

// quantile is, to a 16th above, what the share q of all are not above; 0 for none.
func (h *histogram) quantile(q float64) time.Duration {
	var total int64
	for i := range h.buckets {
		total += h.buckets[i].Load()
	}
	rank, sum := int64(math.Ceil(q*float64(total))), int64(0)
	for i := range h.buckets {
		if sum += h.buckets[i].Load(); sum >= max(rank, 1) {
			return upperOf(i)
		}
	}
	return 0
}
