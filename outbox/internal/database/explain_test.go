package database

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// What anybody may read has no address, role or statement in it.
func TestExplain_KeepsSecrets(t *testing.T) {
	for _, code := range []string{"28P01", "28000", "3D000", "42501", "53100", "53300", "57P01", "57P03", "42601"} {
		why, permanent := Explain(&pgconn.PgError{Code: code, Message: `secret "role"`, Detail: "secret", Hint: "secret", InternalQuery: "secret"})
		if why == "" || len(why) > 120 {
			t.Errorf("%s: %q", code, why)
		}
		if want := code[:2] == "28" || code == "3D000" || code == "42501"; permanent != want {
			t.Errorf("%s: permanent %t", code, permanent)
		}
	}
	// Sessions that an administrator ends are an outage like any other, and not that of a server that starts.
	if why, _ := Explain(&pgconn.PgError{Code: "57P01"}); why != "the database ended the connection, because it stops or somebody ended the session" || Cause(&pgconn.PgError{Code: "57P01"}) != "away" {
		t.Errorf("a session that was ended: %q", why)
	}
	if why, permanent := Explain(errors.New("dial tcp 10.0.0.1:5432: secret")); why != "the database can't be reached" || permanent {
		t.Errorf("%q, %t", why, permanent)
	}
}
