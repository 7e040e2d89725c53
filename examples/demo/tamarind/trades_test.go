package tamarind

import (
	"encoding/json"
	"testing"
)

func TestExecute_TellsSubmitterMarketAndPrices(t *testing.T) {
	d := newBusiness(t)
	item := must[Item](t)(d.Submit(t.Context(), "bo", Submission{Title: "a", Symbol: "COCOA"}))
	must[Item](t)(d.Approve(t.Context(), "rita", item.ID, ""))
	trade := must[Trade](t)(d.Execute(t.Context(), "tom", item.ID))
	list := wantEvents(t, d, 5, "user/bo trade.executed", "trades/COCOA trade.executed", "public/prices info.updated")
	var price Price
	if err := json.Unmarshal(list[2].Payload, &price); err != nil {
		t.Fatal(err)
	}
	if price.PriceCents != trade.PriceCents || price.PreviousCents != 68200 {
		t.Errorf("the price is %+v after a trade at %d", price, trade.PriceCents)
	}
	state := must[State](t)(d.State(t.Context(), "bo"))
	if i := state.Items[0]; i.Status != "traded" || *i.PriceCents != trade.PriceCents {
		t.Errorf("the item is %+v", i)
	}
}

func TestExecute_HappensOnceAndOnlyWhenApproved(t *testing.T) {
	d := newBusiness(t)
	item := must[Item](t)(d.Submit(t.Context(), "ada", Submission{Title: "a"}))
	_, err := d.Execute(t.Context(), "tom", item.ID)
	wantProblem(t, err, 409, "")
	must[Item](t)(d.Approve(t.Context(), "rita", item.ID, ""))
	execute := func() error { _, err := d.Execute(t.Context(), "tom", item.ID); return err }
	for _, err := range exactlyOne(t, execute, execute, execute) {
		wantProblem(t, err, 409, "")
	}
	_, err = d.Execute(t.Context(), "rita", item.ID)
	wantProblem(t, err, 403, "")
	_, err = d.Execute(t.Context(), "tom", item.ID+1)
	wantProblem(t, err, 404, "")
}

// The trader gets an event about a trade that maintenance forbids, and no trade is
// made; the event is committed all the same.
func TestExecute_WaitsForTheEndOfMaintenance(t *testing.T) {
	d := newBusiness(t)
	item := must[Item](t)(d.Submit(t.Context(), "ada", Submission{Title: "a"}))
	must[Item](t)(d.Approve(t.Context(), "rita", item.ID, ""))
	must[Maintenance](t)(d.Announce(t.Context(), "rita", Window{StartsIn: 5, Lasts: 60}))
	had := len(events(t, d.pool))
	move := func(start, end string) {
		t.Helper()
		if _, err := d.pool.Exec(t.Context(), `UPDATE demo_maintenance SET starts_at = now() + $1::text::interval, ends_at = now() + $2::text::interval`, start, end); err != nil {
			t.Fatal(err)
		}
	}
	move("-1 minute", "1 minute")
	_, err := d.Execute(t.Context(), "tom", item.ID)
	wantProblem(t, err, 503, "")
	list := wantEvents(t, d, had, "user/tom client.error")
	var failure Failure
	if err := json.Unmarshal(list[0].Payload, &failure); err != nil {
		t.Fatal(err)
	}
	if failure.What != "trade" || failure.Item != item.ID || failure.Until.IsZero() {
		t.Errorf("tom is told %+v", failure)
	}
	if state := must[State](t)(d.State(t.Context(), "tom")); len(state.Trades) != 0 || len(state.Items) != 1 {
		t.Errorf("there are %d trades, and %d items to be bought", len(state.Trades), len(state.Items))
	}
	move("-2 minutes", "-1 minute")
	must[Trade](t)(d.Execute(t.Context(), "tom", item.ID))
}
