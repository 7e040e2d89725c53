package migrations

import (
	"context"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// The statements of the migrations that restore what a dump or a test suite loses.
var (
	// The catalogue's first entries.
	entriesSQL = regexp.MustCompile(`^INSERT INTO outcrier\.event_type\b`)
	// The view, with its triggers and comments.
	makesView = regexp.MustCompile(`(?s)^(CREATE VIEW|CREATE OR REPLACE VIEW|ALTER VIEW|CREATE TRIGGER|COMMENT ON|REVOKE)\b.*\bpublic\.outbox\b`)
	// The rights: the function that takes them from everybody but the owner.
	revokes = regexp.MustCompile(`^CREATE FUNCTION outcrier\.revoke_rights\(`)
)

// revokeRightsSQL returns the statement that makes revoke_rights again. That function names
// the view, which may have been moved.
func revokeRightsSQL() string {
	return strings.ReplaceAll(strings.Join(chosen(revokes), "\n"), "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
}

// restore puts back the missing parts of a schema whose migrations are all applied. If the
// outbox has roles, it grants them the rights that a migration has added or sealing has
// taken.
func (m Migrations) restore(ctx context.Context, conn *pgx.Conn, before *found) error {
	f, err := m.find(ctx, conn)
	if err != nil {
		return err
	}
	var text []string
	if !f.viewThere {
		text = append(text, chosen(makesView)...)
	}
	if !f.entries {
		text = append(text, chosen(entriesSQL)...)
	}
	if f.open {
		text = append(text, revokeRightsSQL(), "SELECT outcrier.revoke_rights();")
	}
	if len(text) == 0 && before.applied == f.applied {
		return nil
	}
	return m.patiently(ctx, func() error {
		return transaction(ctx, conn, func(tx pgx.Tx) error {
			if len(text) > 0 {
				if _, err := tx.Exec(ctx, f.session()+f.rewrite(strings.Join(text, "\n"))); err != nil {
					return err
				}
			}
			if !before.granted {
				return nil
			}
			return m.grant(ctx, tx, f)
		})
	})
}
