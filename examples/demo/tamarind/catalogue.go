package tamarind

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// describe adds the demo's own types to the catalogue. Entries that exist stay as they are:
// somebody may have edited them. With an outbox that has no catalogue, or where it is
// somebody else's, the page does without.
func describe(ctx context.Context, pool *pgxpool.Pool) error {
	const describeSQL = `
		INSERT INTO outcrier.event_type (type, code, title, description, severity, action) VALUES
			('audit.submitted',   'AUDIT-1', 'Purchase asked for', 'Somebody asks for a purchase, and a reviewer has to decide.',      'info',    'none'),
			('audit.approved',    'AUDIT-2', 'Purchase approved',  'A reviewer has approved it, and the traders may buy.',             'info',    'none'),
			('audit.rejected',    'AUDIT-3', 'Purchase rejected',  'A reviewer has rejected it; the note may say why.',                'warning', 'show_details'),
			('user.login_failed', 'AUTH-4',  'Wrong PIN',          'Somebody typed a wrong PIN. The third in a row locks the account.', 'warning', 'none'),
			('account.unlocked',  'AUTH-5',  'Account unlocked',   'A reviewer has unlocked the account: it can be used again.',       'info',    'sign_in_again'),
			('support.requested', 'HELP-1',  'Help asked for',     'Somebody asks the reviewers for help.',                            'warning', 'none')
		ON CONFLICT DO NOTHING`
	_, err := pool.Exec(ctx, describeSQL)
	const undefinedTable, undefinedSchema, insufficientPrivilege = "42P01", "3F000", "42501"
	var refused *pgconn.PgError
	if errors.As(err, &refused) && slices.Contains([]string{undefinedTable, undefinedSchema, insufficientPrivilege}, refused.Code) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("describe demo's types: %w", err)
	}
	return nil
}
