package outbox

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// Refused reports whether an append failed because Postgres, or the catalogue's schema,
// does not accept the draft, and if so why, in words for its author. Other failures may be
// temporary.
func Refused(err error) (reason string, refused bool) {
	var invalid *SchemaError
	if errors.As(err, &invalid) {
		return invalid.Error(), true
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return "", false
	}
	if pg.Code == "23505" && pg.ConstraintName == "outbox_dedup_key" { // unique_violation
		return pg.Message, true
	}
	switch pg.Code {
	case "23514", // check_violation: the outbox's own rules
		"23502", // not_null_violation
		"22P02", // invalid_text_representation: not JSON
		"22P05", // untranslatable_character
		"22021", // character_not_in_repertoire: NUL, not UTF-8
		"22007", // invalid_datetime_format
		"22008": // datetime_field_overflow
		reason = pg.Message
		if pg.Detail != "" && pg.Code != "23514" && pg.Code != "23502" {
			reason += ": " + pg.Detail
		}
		return reason, true
	}
	return "", false
}
