package migrations

import (
	"context"
	"errors"
	"fmt"
)

// ErrIncompatible is what Check returns for a schema that this program does not work
// with.
var ErrIncompatible = errors.New("this outcrier does not work with the schema of its database")

// Check reports whether this program works with the schema that the database has. It needs
// all of its own migrations to be applied, and works with newer ones for as long as these
// say so. A fault is an ErrIncompatible and says what to do. A database without any of the
// schema passes: it may still be migrated. Check needs only the rights of outcrier_server.
func (m Migrations) Check(ctx context.Context) error {
	f, err := m.look(ctx)
	if err != nil {
		return fmt.Errorf("check the schema: %w", err)
	}
	return m.compatible(f)
}

// compatible returns why this program does not work with the schema found, or nil.
func (m Migrations) compatible(f *found) error {
	if f.strange != "" {
		return fmt.Errorf("%w: schema %s is not Outcrier's, it has %q", ErrIncompatible, m.identifier(), f.strange)
	}
	if f.applied == 0 {
		return nil
	}
	return compatible(f.applied, f.nodesFrom, Newest())
}

// compatible returns why a program with migrations up to newest does not work with a schema
// that has them up to version, or nil.
func compatible(version, nodesFrom, newest int64) error {
	switch {
	case version < newest:
		return fmt.Errorf("%w: it is at version %d, and this one needs %d: run outcrier migrate up", ErrIncompatible, version, newest)
	case newest < nodesFrom:
		return fmt.Errorf("%w: it is at version %d, for programs with migrations up to %d at least, and this one has them up to %d: "+
			"run a newer outcrier", ErrIncompatible, version, nodesFrom, newest)
	}
	return nil
}
