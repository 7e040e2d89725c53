package database

import (
	"testing"
	"time"
)

func TestRetry_PausesGrowToTheLongestAndSpread(t *testing.T) {
	r := Retry{First: 40 * time.Millisecond, Longest: 100 * time.Millisecond}
	for range 2 { // the second time after a reset
		for i, mean := range []time.Duration{40, 60, 90, 100, 100} {
			mean *= time.Millisecond
			if pause := r.Next(); pause < mean/2 || pause >= mean*3/2 {
				t.Errorf("pause %d is %v, the mean should be %v", i, pause, mean)
			}
		}
		r.Reset()
	}
	pauses := map[time.Duration]bool{}
	for range 100 {
		pauses[r.Next()] = true
	}
	if len(pauses) < 2 {
		t.Error("all pauses are the same")
	}
}
