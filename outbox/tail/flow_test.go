package tail

import (
	"testing"
	"time"
)

func TestFlow_IsMoreThanNowAndThen(t *testing.T) {
	for name, test := range map[string]struct {
		every  time.Duration
		events int
		want   bool
	}{
		"one every 20 ms":          {20 * time.Millisecond, 1, false},
		"one every 11 ms":          {11 * time.Millisecond, 1, false},
		"five every 100 ms":        {100 * time.Millisecond, 5, false},
		"one every 5 ms":           {5 * time.Millisecond, 1, true},
		"many in every turn":       {10 * time.Millisecond, 300, true},
		"as many as fill a bucket": {time.Microsecond, 1, true},
	} {
		var f flow
		now, flowing := time.Now(), false
		for range 100 {
			now = now.Add(test.every)
			flowing = f.after(now, test.events)
		}
		if flowing != test.want {
			t.Errorf("%s: %v", name, flowing)
		}
		if f.after(now.Add(time.Second), 0) {
			t.Errorf("%s: after a second of nothing they still flow", name)
		}
	}
}

func TestFlow_IsHeldForAWhile(t *testing.T) {
	var f flow
	now := time.Now()
	f.after(now, 1)
	f.hold(now)
	if !f.after(now.Add(flowHold-time.Second), 0) {
		t.Error("it is not held")
	}
	if f.after(now.Add(flowHold), 1) {
		t.Error("it is held for longer")
	}
}
