package migrations

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
)

// Status is where a database's schema is.
type Status struct {
	// Version is the newest migration applied, 0 for none, and Newest the newest
	// that this program has.
	Version int64 `json:"version"`
	Newest  int64 `json:"newest"`
	// Problem is why this program does not work with the schema as it is, "" when
	// it does.
	Problem string `json:"problem,omitempty"`
	// Migrations are this program's, in their order.
	Migrations []Migration `json:"migrations"`
}

// Migration is one step.
type Migration struct {
	Version int64  `json:"version"`
	File    string `json:"file"`
	// AppliedAt is nil for one that is not applied.
	AppliedAt *time.Time `json:"applied_at"`
}

// Status tells which migrations are applied. A database without any of the schema is
// left as it is.
func (m Migrations) Status(ctx context.Context) (Status, error) {
	s := Status{Newest: Newest()}
	err := m.with(ctx, func(p *goose.Provider) error {
		for _, source := range p.ListSources() {
			s.Migrations = append(s.Migrations, Migration{Version: source.Version, File: source.Path})
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	err = m.connected(ctx, func(conn *pgx.Conn) error {
		var there bool
		if err := conn.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, versionTable).Scan(&there); err != nil || !there {
			return err
		}
		rows, _ := conn.Query(ctx, `SELECT version_id, max(tstamp) FROM `+versionTable+` WHERE is_applied GROUP BY version_id`) // ForEachRow has the error
		var version int64
		var at time.Time
		_, err := pgx.ForEachRow(rows, []any{&version, &at}, func() error {
			s.Version = max(s.Version, version)
			for i := range s.Migrations {
				if one := &s.Migrations[i]; one.Version == version {
					applied := at
					one.AppliedAt = &applied
				}
			}
			return nil
		})
		return err
	})
	if err != nil {
		return s, fmt.Errorf("migrate: %w", err)
	}
	if err := m.Check(ctx); errors.Is(err, ErrIncompatible) {
		s.Problem = err.Error()
	} else if err != nil {
		return s, err
	}
	return s, nil
}

// String has a line for each migration and one that sums up.
func (s Status) String() string {
	var b strings.Builder
	pending := 0
	for _, m := range s.Migrations {
		state := "pending"
		if m.AppliedAt != nil {
			state = m.AppliedAt.Format(time.DateTime)
		} else {
			pending++
		}
		fmt.Fprintf(&b, "%-19s  %s\n", state, m.File)
	}
	switch {
	case s.Version == 0:
		b.WriteString("nothing is applied: run outcrier migrate up\n")
	case pending > 0:
		fmt.Fprintf(&b, "%d of %d are to be applied: run outcrier migrate up\n", pending, len(s.Migrations))
	case s.Problem != "":
		fmt.Fprintf(&b, "%s\n", s.Problem)
	case s.Version > s.Newest:
		fmt.Fprintf(&b, "the schema is at version %d, newer than this program's %d, which works with it\n", s.Version, s.Newest)
	default:
		fmt.Fprintf(&b, "up to date, at version %d\n", s.Version)
	}
	return b.String()
}
