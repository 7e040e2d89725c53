package tamarind

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
)

const (
	roleSubmitter = "submitter"
	roleReviewer  = "reviewer"
	roleTrader    = "trader"
)

const (
	// loginTries is how many wrong PINs in a row lock an account.
	loginTries = 3
	// lockedFor is how long, unless a reviewer unlocks it before.
	lockedFor = time.Minute
)

// Person is someone of the desk. Opening a person's page is being that person:
// the PIN is for the story of signing in and being locked out.
type Person struct {
	// Name is the key: lower case, in topics and paths.
	Name  string `json:"name"`
	Title string `json:"title"`
	// Role is submitter, reviewer or trader.
	Role  string `json:"role"`
	About string `json:"about"`
	PIN   string `json:"-"`
	// SignedInAt is nil when signed out.
	SignedInAt *time.Time `json:"signed_in_at"`
	// FailedLogins counts wrong PINs since the last right one.
	FailedLogins int `json:"failed_logins"`
	// LockedUntil is in the future while the account is locked; else nil.
	LockedUntil *time.Time `json:"locked_until"`
}

// Account is the payload of the events about one account.
type Account struct {
	Person string `json:"person"`
	// FailedLogins counts wrong PINs since the last right one.
	FailedLogins int        `json:"failed_logins"`
	SignedInAt   *time.Time `json:"signed_in_at"`
	LockedUntil  *time.Time `json:"locked_until"`
	// By is who unlocked it.
	By string `json:"by,omitempty"`
}

// A lock that has run out is none, and neither are the tries that led to it.
const personColumns = `name, title, role, about, pin, signed_in_at,
	CASE WHEN locked_until <= clock_timestamp() THEN 0 ELSE failed_logins END,
	CASE WHEN locked_until > clock_timestamp() THEN locked_until END`

// LogIn signs person in. A wrong PIN is a Problem with status 401, and the
// third in a row locks the account for a minute (423): the refusal is an event
// too, so that it is committed.
func (b *Business) LogIn(ctx context.Context, person, pin string) (Account, error) {
	var account Account
	var refused *Problem
	err := b.transaction(ctx, func(tx pgx.Tx) error {
		p, err := lockPerson(ctx, tx, person, "FOR NO KEY UPDATE")
		if err != nil {
			return err
		}
		switch {
		case p.LockedUntil != nil:
			return locked(p)
		case pin != p.PIN && p.FailedLogins+1 >= loginTries:
			refused = problem(http.StatusLocked, "third_wrong_pin", "That was the third wrong PIN: %s is locked for a minute.", p.Title)
			refused.Told = true
			account, err = setAccount(ctx, tx, person, false, p.FailedLogins+1, lockedFor)
			if err != nil {
				return err
			}
			return appendAccount(ctx, tx, "account.locked", account, "user/"+person, "reviewers")
		case pin != p.PIN:
			left := loginTries - p.FailedLogins - 1
			refused = problem(http.StatusUnauthorized, "wrong_pin", "Wrong PIN; tries left: %d.", left)
			refused.Field = "pin"
			account, err = setAccount(ctx, tx, person, p.SignedInAt != nil, p.FailedLogins+1, 0)
			if err != nil {
				return err
			}
			return appendAccount(ctx, tx, "user.login_failed", account, "user/"+person)
		case p.SignedInAt != nil:
			return problem(http.StatusConflict, "signed_in_already", "%s is signed in already.", p.Title)
		}
		if account, err = setAccount(ctx, tx, person, true, 0, 0); err != nil {
			return err
		}
		return appendAccount(ctx, tx, "user.logged_in", account, "user/"+person)
	})
	if err == nil && refused != nil {
		err = refused
	}
	return account, err
}

// LogOut signs person out.
func (b *Business) LogOut(ctx context.Context, person string) (Account, error) {
	var account Account
	err := b.transaction(ctx, func(tx pgx.Tx) error {
		p, err := lockPerson(ctx, tx, person, "FOR NO KEY UPDATE")
		if err != nil {
			return err
		}
		if p.SignedInAt == nil {
			return problem(http.StatusConflict, "not_signed_in", "%s is not signed in.", p.Title)
		}
		if account, err = setAccount(ctx, tx, person, false, p.FailedLogins, 0); err != nil {
			return err
		}
		return appendAccount(ctx, tx, "user.logged_out", account, "user/"+person)
	})
	return account, err
}

// Unlock ends the lock of person's account before its time, in the name of reviewer.
func (b *Business) Unlock(ctx context.Context, reviewer, person string) (Account, error) {
	var account Account
	err := b.transaction(ctx, func(tx pgx.Tx) error {
		p, err := lockPerson(ctx, tx, person, "FOR NO KEY UPDATE")
		if err != nil {
			return err
		}
		if _, err := actor(ctx, tx, reviewer, roleReviewer); err != nil {
			return err
		}
		if p.LockedUntil == nil {
			return problem(http.StatusConflict, "not_locked", "%s is not locked.", p.Title)
		}
		if account, err = setAccount(ctx, tx, person, false, 0, 0); err != nil {
			return err
		}
		account.By = reviewer
		return appendAccount(ctx, tx, "account.unlocked", account, "user/"+person, "reviewers")
	})
	return account, err
}

// actor reads who acts, and refuses those of another role and those locked out.
// FOR SHARE: a lockout at the same moment comes wholly before or after.
func actor(ctx context.Context, tx pgx.Tx, name, role string) (Person, error) {
	p, err := lockPerson(ctx, tx, name, "FOR SHARE")
	if err != nil {
		return Person{}, err
	}
	if p.Role != role {
		return Person{}, problem(http.StatusForbidden, "other_role", "Only a %s may do that, and %s is a %s.", role, p.Title, p.Role)
	}
	if p.LockedUntil != nil {
		return Person{}, locked(p)
	}
	return p, nil
}

func locked(p Person) *Problem {
	refused := problem(http.StatusLocked, "locked", "%s is locked until %s.", p.Title, p.LockedUntil.UTC().Format("15:04:05 MST"))
	refused.Values = []any{p.Title, p.LockedUntil}
	return refused
}

func lockPerson(ctx context.Context, tx pgx.Tx, name, strength string) (Person, error) {
	// Postgres refuses to compare with what can't be text.
	if !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return Person{}, problem(http.StatusNotFound, "nobody", "Nobody here is called %q.", name)
	}
	const personSQL = `SELECT ` + personColumns + ` FROM demo_person WHERE name = $1 `
	rows, err := tx.Query(ctx, personSQL+strength, name)
	if err != nil {
		return Person{}, fmt.Errorf("read person: %w", err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Person])
	if errors.Is(err, pgx.ErrNoRows) {
		return Person{}, problem(http.StatusNotFound, "nobody", "Nobody here is called %q.", name)
	}
	if err != nil {
		return Person{}, fmt.Errorf("read person: %w", err)
	}
	return p, nil
}

// setAccount writes what signing in and out is about. A signed-in person stays
// so since when they were; a lock of 0 is none.
func setAccount(ctx context.Context, tx pgx.Tx, name string, signedIn bool, failed int, lock time.Duration) (Account, error) {
	const accountSQL = `
		UPDATE demo_person SET
			signed_in_at = CASE WHEN $2 THEN coalesce(signed_in_at, clock_timestamp()) END,
			failed_logins = $3,
			locked_until = CASE WHEN $4::interval > '0' THEN clock_timestamp() + $4 END
		WHERE name = $1
		RETURNING signed_in_at, locked_until`
	account := Account{Person: name, FailedLogins: failed}
	err := tx.QueryRow(ctx, accountSQL, name, signedIn, failed, lock).Scan(&account.SignedInAt, &account.LockedUntil)
	if err != nil {
		return Account{}, fmt.Errorf("write account: %w", err)
	}
	return account, nil
}

func appendAccount(ctx context.Context, tx pgx.Tx, what string, account Account, topics ...string) error {
	drafts := make([]outbox.Draft, len(topics))
	for i, topic := range topics {
		drafts[i] = outbox.Draft{Topic: topic, Type: what, Payload: account, Source: "/demo/accounts"}
	}
	_, err := appendEvents(ctx, tx, drafts...)
	return err
}
