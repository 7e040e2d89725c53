package migrations

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Status is the state of a database's schema.
type Status struct {
	// Schema is the schema's name, and Outbox the view's, quoted where it has to be: where
	// it is or, before the first migration, will be.
	Schema string `json:"schema"`
	Outbox string `json:"outbox"`
	// Version is the newest migration applied, 0 for none, and Newest the newest
	// that this program has.
	Version int64 `json:"version"`
	Newest  int64 `json:"newest"`
	// Problem is why this program does not work with the schema as it is, or what Up
	// would restore; "" for nothing.
	Problem string `json:"problem,omitempty"`
	// Migrations are this program's, in their order.
	Migrations []Migration `json:"migrations"`
}

// Migration is one step.
type Migration struct {
	Version int64  `json:"version"`
	File    string `json:"file"`
	Applied bool   `json:"applied"`
	// AppliedAt is nil for one that is not applied, and for one whose time is not on
	// record: after a restore of the schema alone.
	AppliedAt *time.Time `json:"applied_at"`
}

// Status returns which migrations are applied. It changes nothing.
func (m Migrations) Status(ctx context.Context) (Status, error) {
	f, err := m.look(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("migrate: %w", explained(err))
	}
	s := Status{Schema: m.schemaName(), Outbox: shown(f.view), Version: f.applied, Newest: Newest()}
	for _, c := range chapters {
		one := Migration{Version: c.version, File: c.file, Applied: c.version <= f.applied}
		if at, there := f.recorded[c.version]; there {
			one.AppliedAt = &at
		}
		s.Migrations = append(s.Migrations, one)
	}
	s.Problem = m.problem(f)
	return s, nil
}

// plainName matches a quoted name that needs no quotes for people (keywords included).
var plainName = regexp.MustCompile(`"([a-z_][a-z0-9_]*)"`)

func shown(view string) string { return plainName.ReplaceAllString(view, "$1") }

// problem returns the fault of the schema, or "" if it has none or only needs to be
// migrated.
func (m Migrations) problem(f *found) string {
	if err := m.compatible(f); err != nil && f.applied >= Newest() || f.strange != "" {
		return err.Error()
	}
	if f.creators != "" {
		return m.refuse(f).Error()
	}
	if f.applied != Newest() || !f.owns {
		return ""
	}
	var missing []string
	for what, is := range map[string]bool{
		"the view " + shown(f.view): f.viewThere, "the first entries of the catalogue": f.entries,
		"rows of the version table": len(f.unrecorded()) == 0, "the rights, which PUBLIC has": !f.open,
	} {
		if !is {
			missing = append(missing, what)
		}
	}
	if len(missing) == 0 {
		return ""
	}
	slices.Sort(missing)
	return "outcrier migrate up restores " + strings.Join(missing, ", ")
}

// String returns a line for each migration, and a summary.
func (s Status) String() string {
	var b strings.Builder
	pending := 0
	for _, m := range s.Migrations {
		state := "pending"
		switch {
		case m.AppliedAt != nil:
			state = m.AppliedAt.Format(time.DateTime)
		case m.Applied:
			state = "applied"
		default:
			pending++
		}
		fmt.Fprintf(&b, "%-19s  %s\n", state, m.File)
	}
	switch {
	case s.Version == 0:
		fmt.Fprintf(&b, "nothing is applied: run outcrier migrate up\n")
	case pending > 0:
		fmt.Fprintf(&b, "%d of %d are to be applied: run outcrier migrate up\n", pending, len(s.Migrations))
	case s.Version > s.Newest && s.Problem == "":
		fmt.Fprintf(&b, "the schema is at version %d, newer than this program's %d, which works with it\n", s.Version, s.Newest)
	default:
		fmt.Fprintf(&b, "up to date, at version %d: schema %s, view %s\n", s.Version, s.Schema, s.Outbox)
	}
	if s.Problem != "" {
		fmt.Fprintf(&b, "%s\n", s.Problem)
	}
	return b.String()
}
