package tamarind

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestSubmit_TellsSubmitterAndReviewers(t *testing.T) {
	d := newBusiness(t)
	item := must[Item](t)(d.Submit(t.Context(), "ada", Submission{Title: "  Winter blend "}))
	if item.Title != "Winter blend" || item.Symbol != "COFFEE" || item.Quantity != 10 || item.Status != "submitted" {
		t.Errorf("got %+v", item)
	}
	list := wantEvents(t, d, 0, "user/ada audit.submitted", "reviewers audit.submitted")
	var payload Item
	if err := json.Unmarshal(list[1].Payload, &payload); err != nil {
		t.Fatal(err)
	}
	if payload.ID != item.ID || payload.Title != "Winter blend" {
		t.Errorf("payload %s", list[1].Payload)
	}
}

func TestSubmit_NamesFieldAtFault(t *testing.T) {
	d := newBusiness(t)
	n := func(n int) *int { return &n }
	for name, c := range map[string]struct {
		submission Submission
		field      string
	}{
		"no title":         {Submission{Title: " \t"}, "title"},
		"long title":       {Submission{Title: strings.Repeat("é", 121)}, "title"},
		"title of lines":   {Submission{Title: "a\nb"}, "title"},
		"title with NUL":   {Submission{Title: "a\x00b"}, "title"},
		"nothing":          {Submission{Title: "a", Quantity: n(0)}, "quantity"},
		"too much":         {Submission{Title: "a", Quantity: n(10_001)}, "quantity"},
		"not traded":       {Submission{Title: "a", Symbol: "GOLD"}, "symbol"},
		"symbol with more": {Submission{Title: "a", Symbol: "COFFEE;"}, "symbol"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.Submit(t.Context(), "ada", c.submission)
			wantProblem(t, err, 422, c.field)
		})
	}
	wantEvents(t, d, 0)
}

func TestSubmit_IsForSubmitters(t *testing.T) {
	d := newBusiness(t)
	_, err := d.Submit(t.Context(), "tom", Submission{Title: "a"})
	wantProblem(t, err, 403, "")
	_, err = d.Submit(t.Context(), "nobody", Submission{Title: "a"})
	wantProblem(t, err, 404, "")
	wantEvents(t, d, 0)
}

func TestReview_TellsAllConcernedInOneTransaction(t *testing.T) {
	d := newBusiness(t)
	a := must[Item](t)(d.Submit(t.Context(), "ada", Submission{Title: "a"}))
	b := must[Item](t)(d.Submit(t.Context(), "bo", Submission{Title: "b"}))
	a = must[Item](t)(d.Approve(t.Context(), "rita", a.ID, "fine"))
	if a.Status != "approved" || *a.Reviewer != "rita" || a.Note != "fine" || a.ReviewedAt == nil {
		t.Errorf("got %+v", a)
	}
	wantEvents(t, d, 4, "user/ada audit.approved", "reviewers audit.approved", "traders audit.approved")
	must[Item](t)(d.Reject(t.Context(), "rita", b.ID, ""))
	wantEvents(t, d, 7, "user/bo audit.rejected", "reviewers audit.rejected")
}

func TestReview_HappensOnce(t *testing.T) {
	d := newBusiness(t)
	item := must[Item](t)(d.Submit(t.Context(), "ada", Submission{Title: "a"}))
	approve := func() error { _, err := d.Approve(t.Context(), "rita", item.ID, ""); return err }
	reject := func() error { _, err := d.Reject(t.Context(), "rita", item.ID, ""); return err }
	for _, err := range exactlyOne(t, approve, reject, approve, reject) {
		wantProblem(t, err, 409, "")
		if !strings.Contains(err.Error(), "already, by the verdict of rita") {
			t.Errorf("the refusal says %q", err)
		}
	}
	if n := len(events(t, d.pool)); n != 4 && n != 5 {
		t.Errorf("%d events, want 2 of the submission and 2 or 3 of one verdict", n)
	}

	_, err := d.Approve(t.Context(), "rita", item.ID+1, "")
	wantProblem(t, err, 404, "")
	_, err = d.Approve(t.Context(), "ada", item.ID, "")
	wantProblem(t, err, 403, "")
	_, err = d.Approve(t.Context(), "rita", item.ID, strings.Repeat("x", 281))
	wantProblem(t, err, 422, "note")
}

func TestReview_FailsWithItsEvents(t *testing.T) {
	d := newBusiness(t)
	item := must[Item](t)(d.Submit(t.Context(), "ada", Submission{Title: "a"}))
	if _, err := d.pool.Exec(t.Context(), `ALTER TABLE outcrier.event ADD CHECK (topic <> 'traders')`); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Approve(t.Context(), "rita", item.ID, ""); err == nil {
		t.Fatal("approved without its events")
	}
	var status string
	if err := d.pool.QueryRow(t.Context(), `SELECT status FROM demo_item WHERE id = $1`, item.ID).Scan(&status); err != nil {
		t.Fatal(err)
	}
	if status != "submitted" {
		t.Errorf("the item is %s, want it untouched", status)
	}
	wantEvents(t, d, 2)
}
