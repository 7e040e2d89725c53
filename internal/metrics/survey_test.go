package metrics

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/outbox/upkeep"
)

// A transaction whose age may not be seen has been open for as long as it was seen.
func TestSurvey_TimesATransactionFromFirstSight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now upkeep.Survey
		from := Sources{Survey: func(context.Context) (upkeep.Survey, error) { return now, nil }}
		var s surveyed
		oldest := func(untimed ...uint32) time.Duration {
			t.Helper()
			time.Sleep(time.Minute)
			now = upkeep.Survey{InFlight: len(untimed) + 1, OldestInFlight: 90 * time.Second, Untimed: untimed}
			found, err := s.survey(from)
			if err != nil {
				t.Fatal(err)
			}
			return found.OldestInFlight
		}
		for i, step := range []struct {
			untimed []uint32
			want    time.Duration
		}{
			{nil, 90 * time.Second}, {[]uint32{7}, 90 * time.Second}, {[]uint32{7, 8}, 90 * time.Second},
			{[]uint32{7, 8}, 2 * time.Minute}, {[]uint32{8}, 2 * time.Minute}, {[]uint32{9}, 90 * time.Second}, {[]uint32{7}, 90 * time.Second},
		} {
			if got := oldest(step.untimed...); got != step.want {
				t.Errorf("step %d: %v, want %v", i, got, step.want)
			}
		}
	})
}
