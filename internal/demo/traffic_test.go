package demo

import (
	"context"
	"testing"
	"time"
)

func TestTraffic_DoesPlausibleThingsUntilItsEnd(t *testing.T) {
	d := newDemo(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan error)
	go func() { ended <- d.Traffic(ctx, trafficMax) }()

	const kindsSQL = `
		SELECT count(DISTINCT type) FROM outcrier.event WHERE type IN ('audit.submitted', 'audit.approved',
			'audit.rejected', 'trade.executed', 'info.updated', 'user.logged_in', 'user.login_failed')`
	for kinds := 0; kinds < 7; time.Sleep(10 * time.Millisecond) {
		if err := d.pool.QueryRow(ctx, kindsSQL).Scan(&kinds); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestTraffic_RefusesImpossibleRates(t *testing.T) {
	for _, rate := range []float64{0, -1, trafficMax + 1} {
		if err := (&Demo{}).Traffic(t.Context(), rate); err == nil {
			t.Errorf("took a rate of %v", rate)
		}
	}
}
