package outbox

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestOutage_IsLoggedWhenItBeginsChangesAndLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outage
		gone, full := errors.New("connection refused"), error(&pgconn.PgError{Code: "53300"})
		steps := []struct {
			after  time.Duration
			err    error
			logged bool
		}{
			{0, gone, true}, {time.Second, gone, false}, {time.Second, gone, false},
			{time.Second, full, true}, {time.Second, full, false}, {time.Second, gone, true},
			{59 * time.Second, gone, false}, {time.Second, gone, true}, {time.Second, gone, false},
		}
		for i, s := range steps {
			time.Sleep(s.after)
			if o.fails(s.err) != s.logged {
				t.Errorf("failure %d: logged %t, want %t", i, !s.logged, s.logged)
			}
		}
		if lasted, failures := o.ends(); lasted != 66*time.Second || failures != len(steps) {
			t.Errorf("it lasted %v, with %d failures", lasted, failures)
		}
		if _, failures := o.ends(); failures != 0 {
			t.Error("it ended twice")
		}
		if !o.fails(gone) {
			t.Error("the next one is not logged")
		}
	})
}
