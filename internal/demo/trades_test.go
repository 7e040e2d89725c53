package demo

import (
	"encoding/json"
	"testing"
)

func TestExecute_TellsSubmitterMarketAndPrices(t *testing.T) {
	d := newDemo(t)
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
	d := newDemo(t)
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
