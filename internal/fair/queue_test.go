package fair_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/internal/fair"
)

// One with a hundred requests is served as often as one with three.
func TestQueue_ServesPrincipalsInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := fair.NewQueue(1, 0)
		leave, err := q.Enter(fair.With(t.Context(), "first"))
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan string, 200)
		ask := func(principal string, times int) {
			for range times {
				go func() {
					leave, err := q.Enter(fair.With(t.Context(), principal))
					if err != nil {
						t.Error(err)
						return
					}
					served <- principal
					time.Sleep(time.Millisecond)
					leave()
				}()
			}
			synctest.Wait() // all of them wait
		}
		ask("busy", 100)
		ask("ann", 3)
		ask("bob", 2)
		leave()
		var order []string
		for range 105 {
			order = append(order, <-served)
		}
		time.Sleep(time.Second) // of the bubble: the last one is over
		if want := []string{"busy", "ann", "bob", "busy", "ann", "bob", "busy", "ann", "busy", "busy"}; !slices.Equal(order[:10], want) {
			t.Errorf("served were %v, want %v", order[:10], want)
		}
		if q.Used() != 0 {
			t.Errorf("%d places are taken in the end", q.Used())
		}
	})
}

func TestQueue_OnePrincipalLeavesAPlaceToTheNext(t *testing.T) {
	for _, test := range []struct {
		places, spare int
		principal     string
		most          int
	}{{4, 1, "ann", 3}, {4, 2, "ann", 2}, {1, 1, "ann", 1}, {0, 1, "ann", 1}, {4, 1, "", 4}} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			q := fair.NewQueue(test.places, test.spare)
			var leaves []func()
			for leave, ok := q.TryEnter(fair.With(t.Context(), test.principal)); ok; leave, ok = q.TryEnter(fair.With(t.Context(), test.principal)) {
				leaves = append(leaves, leave)
			}
			if len(leaves) != test.most {
				t.Errorf("it got %d places, want %d", len(leaves), test.most)
			}
			leave, ok := q.TryEnter(fair.With(t.Context(), "bob"))
			if free := test.most < q.Places(); ok != free {
				t.Errorf("another one got a place: %v, want %v", ok, free)
			}
			if ok {
				leave()
			}
			for _, leave := range leaves {
				leave()
			}
			if q.Used() != 0 {
				t.Errorf("%d places are taken in the end", q.Used())
			}
		})
	}
}

// A cancelled request stops waiting, and one that gets its place in that moment gives
// it back.
func TestQueue_RequestsThatEndLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, why := fair.NewQueue(2, 1), errors.New("left")
		var all []context.CancelCauseFunc
		for i := range 300 {
			ctx, cancel := context.WithCancelCause(fair.With(t.Context(), fmt.Sprint("p", i%5)))
			all = append(all, cancel)
			go func() {
				leave, err := q.Enter(ctx)
				if err != nil {
					if !errors.Is(err, why) {
						t.Error(err)
					}
					return
				}
				time.Sleep(time.Duration(i%7) * time.Millisecond)
				leave()
			}()
		}
		for i, cancel := range all {
			time.Sleep(time.Duration(i%3) * time.Millisecond)
			cancel(why)
		}
		time.Sleep(time.Second) // of the bubble: all are over
		if q.Used() != 0 {
			t.Errorf("%d places are taken in the end", q.Used())
		}
		for _, principal := range []string{"p0", "p9"} {
			leave, err := q.Enter(fair.With(t.Context(), principal))
			if err != nil {
				t.Fatal(err)
			}
			leave()
		}
	})
}

func TestBytes_AreBoundedForEachAndForAll(t *testing.T) {
	b := fair.NewBytes(100, 60)
	ann, again, bob := b.Open("ann"), b.Open("ann"), b.Open("bob")
	for i, step := range []struct {
		share *fair.Share
		bytes int64
		want  fair.Verdict
	}{{ann, 40, fair.Granted}, {again, 21, fair.OverOwn}, {again, 20, fair.Granted}, {bob, 41, fair.OverAll}, {bob, 40, fair.Granted}, {bob, 0, fair.Granted}} {
		if got := step.share.Take(step.bytes); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	ann.Close()
	if got := bob.Take(20); got != fair.Granted {
		t.Errorf("what was given back is not there: %v", got)
	}
	again.Close()
	bob.Close()
	if b.Used() != 0 {
		t.Errorf("%d bytes are held in the end", b.Used())
	}
	free := fair.NewBytes(0, 0).Open("ann")
	if got := free.Take(1 << 40); got != fair.Granted {
		t.Errorf("without limits: %v", got)
	}
}
