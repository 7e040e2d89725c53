package tamarind

import (
	"strings"
	"testing"
)

// A price list is one event, which does not say the prices.
func TestSyncPrices_TellsOnceOfAll(t *testing.T) {
	d := newBusiness(t)
	before := must[State](t)(d.State(t.Context(), "tom")).Prices
	sync := must[Sync](t)(d.SyncPrices(t.Context(), "tom"))
	if sync.Rows != len(before) {
		t.Errorf("got %+v, want %d rows", sync, len(before))
	}
	list := wantEvents(t, d, 0, "public/market data.synced")
	if payload := string(list[0].Payload); strings.Contains(payload, "cents") {
		t.Errorf("the event says %s", payload)
	}
	for i, p := range must[State](t)(d.State(t.Context(), "tom")).Prices {
		if p.PreviousCents != before[i].PriceCents {
			t.Errorf("%s has moved from %d, was at %d", p.Symbol, p.PreviousCents, before[i].PriceCents)
		}
	}
	_, err := d.SyncPrices(t.Context(), "ada")
	wantProblem(t, err, 403, "")
	wantEvents(t, d, 1)
}

func TestAskForHelp_TellsTheReviewers(t *testing.T) {
	d := newBusiness(t)
	for range loginTries { // those locked out may ask
		if _, err := d.LogIn(t.Context(), "cleo", "0000"); err == nil {
			t.Fatal("a wrong PIN was taken")
		}
	}
	must[Request](t)(d.AskForHelp(t.Context(), "cleo", "AUTH-3"))
	wantEvents(t, d, 4, "user/cleo support.requested", "reviewers support.requested")
	must[Request](t)(d.AskForHelp(t.Context(), "rita", ""))
	wantEvents(t, d, 6, "user/rita support.requested")
	_, err := d.AskForHelp(t.Context(), "cleo", strings.Repeat("x", aboutLimit+1))
	wantProblem(t, err, 422, "about")
	_, err = d.AskForHelp(t.Context(), "zoe", "")
	wantProblem(t, err, 404, "")
}
