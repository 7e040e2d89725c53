package migrations

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ErrIncompatible is what Check returns for a schema that this program does not work
// with.
var ErrIncompatible = errors.New("this outcrier does not work with the schema of its database")

// Newest is the version of the newest migration that this program has.
func Newest() int64 {
	var newest int64
	names, _ := fs.Glob(files, "0*.sql") // the pattern is good
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err == nil {
			newest = max(newest, version)
		}
	}
	return newest
}

// Check tells whether this program works with the schema that the database has. It
// needs all of its own migrations to be applied, and works with newer ones for as
// long as these say so. What is wrong is an ErrIncompatible and says what to do. A
// database without any of the schema passes: it may be migrated yet. It asks for no
// right but that of outbox_server.
func (m Migrations) Check(ctx context.Context) error {
	var version, nodesFrom int64
	err := m.connected(ctx, func(conn *pgx.Conn) error {
		var there, versioned bool
		err := conn.QueryRow(ctx, `SELECT to_regclass('outbox') IS NOT NULL, to_regproc('outbox_schema') IS NOT NULL`).Scan(&there, &versioned)
		switch {
		case err != nil:
			return err
		case !there:
			version, nodesFrom = Newest(), 0
			return nil
		case !versioned:
			return nil // from before it could be asked
		}
		return conn.QueryRow(ctx, `SELECT version, nodes_from FROM outbox_schema()`).Scan(&version, &nodesFrom)
	})
	if err != nil {
		return fmt.Errorf("check the schema: %w", err)
	}
	return compatible(version, nodesFrom, Newest())
}

// compatible judges a schema that has migrations up to version, for a program that
// has them up to newest.
func compatible(version, nodesFrom, newest int64) error {
	switch {
	case version == 0:
		return fmt.Errorf("%w: it is too old, and this one needs version %d: run outcrier migrate up", ErrIncompatible, newest)
	case version < newest:
		return fmt.Errorf("%w: it is at version %d, and this one needs %d: run outcrier migrate up", ErrIncompatible, version, newest)
	case newest < nodesFrom:
		return fmt.Errorf("%w: it is at version %d, for programs with migrations up to %d at least, and this one has them up to %d: "+
			"run a newer outcrier", ErrIncompatible, version, nodesFrom, newest)
	}
	return nil
}
