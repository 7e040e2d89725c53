package main

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/outbox"
)

// database starts the private Postgres if no other is configured, and migrates the schema
// if that is configured.
func (n *node) database(ctx context.Context) (private *pgserver.Server, err error) {
	if n.DatabaseURL == "" {
		if n.Data == "" {
			if n.Data, err = pgserver.DefaultData("serve"); err != nil {
				return nil, err
			}
		}
		private, err = pgserver.Start(ctx, pgserver.Config{Data: n.Data, Log: n.log})
		if err != nil {
			return nil, err
		}
		n.DatabaseURL, n.DirectURL = private.URL(""), private.URL("")
	}
	if n.Migrate {
		if err := n.migrations(n.DirectURL, n.log).Up(ctx); err != nil {
			if private != nil {
				err = errors.Join(err, private.Stop())
			}
			return nil, err
		}
	}
	return private, nil
}

func newPool(url string, connections int) (*pgxpool.Pool, error) {
	config, err := outbox.PoolConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(connections)
	// Connections are made when they are needed: the database may be gone.
	return pgxpool.NewWithConfig(context.Background(), config)
}

// appender returns a function that appends in a transaction of its own, for requests.
func appender(pool *pgxpool.Pool, schema outbox.Schema) func(context.Context, []outbox.Draft) ([]int64, error) {
	return func(ctx context.Context, drafts []outbox.Draft) (ids []int64, err error) {
		err = outbox.InTransaction(ctx, pool, func(tx pgx.Tx) error {
			ids, err = schema.Append(ctx, tx, drafts...)
			return err
		})
		return ids, err
	}
}
