package tamarind

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
)

func TestTraffic_DoesPlausibleThingsUntilItsEnd(t *testing.T) {
	d := newBusiness(t)
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

func TestTraffic_SignsNobodyOfThePageInOrOut(t *testing.T) {
	d := newBusiness(t)
	for range 20 {
		var refused *Problem
		if err := d.someoneSignsInOrOut(t.Context()); err != nil && !errors.As(err, &refused) {
			t.Fatal(err)
		}
	}
	var others, ofThePage int
	const signedSQL = `
		SELECT count(*) FILTER (WHERE topic IN ('user/bo', 'user/cleo')), count(*) FILTER (WHERE topic IN ('user/ada', 'user/rita', 'user/tom'))
		FROM outcrier.event`
	if err := d.pool.QueryRow(t.Context(), signedSQL).Scan(&others, &ofThePage); err != nil {
		t.Fatal(err)
	}
	if others == 0 || ofThePage > 0 {
		t.Errorf("%d events of Bo and Cleo, %d of the people of the page", others, ofThePage)
	}
}

func TestTraffic_RefusesImpossibleRates(t *testing.T) {
	for _, rate := range []float64{-1, trafficMax + 1} {
		if err := (&Business{}).Traffic(t.Context(), rate); err == nil {
			t.Errorf("took a rate of %v", rate)
		}
	}
}

func TestTraffic_IsTurnedOnAndOffByThePage(t *testing.T) {
	b := newBusiness(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Traffic(ctx, 0) }()
	turn := func(on string) {
		t.Helper()
		response := httptest.NewRecorder()
		b.Handler().ServeHTTP(response, httptest.NewRequest("POST", "/api/demo/traffic", strings.NewReader(`{"on": `+on+`}`)))
		if response.Code != http.StatusOK {
			t.Fatalf("%d: %s", response.Code, response.Body)
		}
	}
	if n := len(events(t, b.pool)); n != 0 {
		t.Errorf("%d events while it is off", n)
	}
	testkit.Eventually(t, "something happens", func() bool {
		turn("true") // again and again: Traffic may begin, turned off, after the first time
		return len(events(t, b.pool)) > 0
	})
	turn("false")
	if rate, _ := b.traffic.now(); rate != 0 {
		t.Errorf("turned off, the rate is %v", rate)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
