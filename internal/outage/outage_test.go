package outage

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestOutage_IsLoggedWhenItBeginsChangesAndLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o Outage
		steps := []struct {
			after  time.Duration
			cause  string
			logged bool
		}{
			{0, "gone", true}, {time.Second, "gone", false}, {time.Minute, "gone", false},
			{time.Second, "full", true}, {time.Second, "full", false},
			{time.Second, "gone", false}, // it comes back: nothing new
			{remindEvery - 64*time.Second, "gone", true}, {time.Second, "full", false}, {time.Second, "gone", false},
		}
		for i, s := range steps {
			time.Sleep(s.after)
			if o.Fails(s.cause) != s.logged {
				t.Errorf("failure %d: logged %t, want %t", i, !s.logged, s.logged)
			}
		}
		if failures, lasted := o.Ends(); lasted != remindEvery+2*time.Second || failures != len(steps) {
			t.Errorf("it lasted %v, with %d failures", lasted, failures)
		}
		if failures, _ := o.Ends(); failures != 0 {
			t.Error("it ended twice")
		}
		if !o.Fails("gone") {
			t.Error("the next one is not logged")
		}
	})
}

func TestOutage_OfManyThatComesAndGoesIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Outage{Many: true}
		began, ended, counted := 0, 0, 0
		for range 300 {
			if o.Fails("") {
				began++
			}
			time.Sleep(time.Second)
			if failures, _ := o.Ends(); failures > 0 {
				ended, counted = ended+1, counted+failures
			}
		}
		if began != 5 || ended != 5 || counted != 241 {
			t.Errorf("in five minutes %d began and %d ended, of %d failures", began, ended, counted)
		}
		// One that lasts is logged as soon as it may be.
		for range 60 {
			if o.Fails("") {
				began++
			}
			time.Sleep(time.Second)
		}
		if failures, lasted := o.Ends(); began != 6 || failures != 119 || lasted != 119*time.Second {
			t.Errorf("%d began, the last with %d failures in %v", began, failures, lasted)
		}
		// What failed long ago is not a part of it.
		for range 2 {
			o.Fails("")
			o.Ends()
		}
		time.Sleep(time.Hour)
		if !o.Fails("") {
			t.Error("after an hour it is not logged")
		}
		if failures, lasted := o.Ends(); failures != 1 || lasted != 0 {
			t.Errorf("after an hour: %d failures in %v", failures, lasted)
		}
	})
}
