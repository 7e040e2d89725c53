package main

import (
	"context"
	"errors"

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

// withPool calls fn with a pool of one connection, which is made when it is needed, and works
// through a transaction pooler.
func (d DatabaseSettings) withPool(fn func(*pgxpool.Pool) error) error {
	config, err := outbox.PoolConfig(d.DatabaseURL)
	if err != nil {
		return err
	}
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return err
	}
	defer pool.Close()
	return fn(pool)
}
