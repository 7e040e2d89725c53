package tamarind

import (
	"testing"

	"github.com/outcrier/outcrier/outbox/catalogue"
)

// All types that the demo appends are described, and what somebody has edited is
// left alone by the next start.
func TestMigrate_DescribesTypes(t *testing.T) {
	d := newBusiness(t)
	entries := catalogue.Catalogue{Pool: d.pool}
	const edit = `INSERT INTO outcrier.event_type (type, title, action) VALUES ('audit.approved', 'Hurray', 'contact_support')
		ON CONFLICT (type) DO UPDATE SET title = excluded.title, action = excluded.action`
	if _, err := d.pool.Exec(t.Context(), edit); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), d.pool); err != nil {
		t.Fatal(err)
	}
	actions := map[string]string{}
	for _, described := range must[[]catalogue.EventType](t)(entries.List(t.Context())) {
		actions[described.Type] = described.Action
	}
	for name, action := range map[string]string{
		"audit.submitted": "none", "audit.approved": "contact_support", "audit.rejected": "show_details", "user.login_failed": "none",
		"account.unlocked": "sign_in_again", "support.requested": "none", "trade.executed": "show_details", "data.synced": "refresh", "client.error": "retry",
	} {
		if got, ok := actions[name]; !ok || got != action {
			t.Errorf("the action of %s is %q, want %q", name, got, action)
		}
	}
}

func TestMigrate_DoesWithoutACatalogue(t *testing.T) {
	d := newBusiness(t)
	if _, err := d.pool.Exec(t.Context(), `ALTER TABLE outcrier.event_type RENAME TO elsewhere`); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), d.pool); err != nil {
		t.Error(err)
	}
}
