package tamarind

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

func scheduled(t *testing.T, d *Business) []string {
	t.Helper()
	rows, err := d.pool.Query(t.Context(), `
		SELECT topic || ' ' || type || ' ' || (payload->>'state')
		FROM outcrier.scheduled ORDER BY deliver_at`)
	if err != nil {
		t.Fatal(err)
	}
	return must[[]string](t)(pgx.CollectRows(rows, pgx.RowTo[string]))
}

func TestAnnounce_SchedulesBeginAndEnd(t *testing.T) {
	d := newBusiness(t)
	m := must[Maintenance](t)(d.Announce(t.Context(), "rita", Window{Note: "scales", StartsIn: 60, Lasts: 30}))
	if m.State != "announced" || m.EndsAt.Sub(m.StartsAt).Seconds() != 30 {
		t.Errorf("got %+v", m)
	}
	wantEvents(t, d, 0, "public/announcements system.maintenance")
	want := []string{"public/announcements system.maintenance started", "public/announcements system.maintenance finished"}
	if diff := cmp.Diff(want, scheduled(t, d)); diff != "" {
		t.Errorf("scheduled (-want +got):\n%s", diff)
	}
	state := must[State](t)(d.State(t.Context(), "ada"))
	if len(state.Maintenance) != 1 || state.Maintenance[0].Note != "scales" {
		t.Errorf("the page shows %+v", state.Maintenance)
	}
}

func TestCancel_TakesScheduledEventsBack(t *testing.T) {
	d := newBusiness(t)
	other := must[Maintenance](t)(d.Announce(t.Context(), "rita", Window{StartsIn: 60, Lasts: 30}))
	m := must[Maintenance](t)(d.Announce(t.Context(), "rita", Window{StartsIn: 90, Lasts: 30}))
	m = must[Maintenance](t)(d.Cancel(t.Context(), "rita", m.ID))
	if m.State != "cancelled" {
		t.Errorf("got %+v", m)
	}
	wantEvents(t, d, 2, "public/announcements system.maintenance")
	if n := len(scheduled(t, d)); n != 2 {
		t.Errorf("%d events are still scheduled, want the 2 of the other window", n)
	}
	_, err := d.Cancel(t.Context(), "rita", m.ID)
	wantProblem(t, err, 409, "")
	_, err = d.Cancel(t.Context(), "ada", other.ID)
	wantProblem(t, err, 403, "")
	_, err = d.Cancel(t.Context(), "rita", m.ID+1)
	wantProblem(t, err, 404, "")

	if _, err := d.pool.Exec(t.Context(), `UPDATE demo_maintenance SET starts_at = now() WHERE id = $1`, other.ID); err != nil {
		t.Fatal(err)
	}
	_, err = d.Cancel(t.Context(), "rita", other.ID)
	wantProblem(t, err, 409, "")
}

func TestAnnounce_NamesFieldAtFault(t *testing.T) {
	d := newBusiness(t)
	_, err := d.Announce(t.Context(), "rita", Window{StartsIn: 1, Lasts: 30})
	wantProblem(t, err, 422, "starts_in")
	_, err = d.Announce(t.Context(), "rita", Window{StartsIn: 30})
	wantProblem(t, err, 422, "lasts")
	_, err = d.Announce(t.Context(), "tom", Window{StartsIn: 30, Lasts: 30})
	wantProblem(t, err, 403, "")
	wantEvents(t, d, 0)
}
