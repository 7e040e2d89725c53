package main

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("median of %v is %v, want %v", tt.values, got, tt.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("the median of nothing is a number")
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	for _, tt := range []struct{ q, want float64 }{{0, 1}, {0.5, 50}, {0.9, 90}, {0.99, 99}, {0.991, 100}, {1, 100}} {
		if got := quantile(hundred, tt.q); got != tt.want {
			t.Errorf("quantile %v is %v, want %v", tt.q, got, tt.want)
		}
	}
	if !math.IsNaN(quantile(nil, 0.5)) {
		t.Error("a quantile of nothing is a number")
	}
}

func TestRatios_AreOfTheSameRun(t *testing.T) {
	got := ratios([]float64{1, 9}, []float64{2, 3, 5})
	if len(got) != 2 || got[0] != 0.5 || got[1] != 3 {
		t.Errorf("ratios %v, want [0.5 3]", got)
	}
}

func TestHistogram_IsRightToASixteenth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h histogram
		values := rapid.SliceOfN(rapid.Int64Range(0, int64(100*time.Hour)), 1, 50).Draw(t, "values")
		sorted := make([]float64, len(values))
		for i, v := range values {
			h.add(time.Duration(v))
			sorted[i] = float64(v)
		}
		slices.Sort(sorted)
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		want, got := quantile(sorted, q), float64(h.quantile(q))
		if got < want || got > want*17/16 {
			t.Fatalf("quantile %v of %v is %v, want %v to a sixteenth above", q, sorted, got, want)
		}
		h.reset()
		if h.quantile(q) != 0 {
			t.Fatal("a histogram that was reset holds something")
		}
	})
}
