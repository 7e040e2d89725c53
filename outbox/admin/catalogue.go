package admin

import (
	"context"
	"time"

	"github.com/outcrier/outcrier/outbox/catalogue"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// EventTypes is the whole catalogue, by type.
func (a *Admin) EventTypes(ctx context.Context) ([]catalogue.EventType, error) {
	return a.catalogue().List(ctx)
}

// CreateEventType adds an entry, and returns it as it is now.
func (a *Admin) CreateEventType(ctx context.Context, t catalogue.EventType) (created catalogue.EventType, err error) {
	err = a.change(ctx, func(tx database.DB) (err error) {
		created, err = a.catalogue().Create(ctx, tx.Tx(), t)
		return err
	})
	return created, err
}

// ChangeEventType changes the entry of t.Type, if it is still as of t.UpdatedAt.
func (a *Admin) ChangeEventType(ctx context.Context, t catalogue.EventType) (changed catalogue.EventType, err error) {
	err = a.change(ctx, func(tx database.DB) (err error) {
		changed, err = a.catalogue().Change(ctx, tx.Tx(), t)
		return err
	})
	return changed, err
}

// DeleteEventType deletes an entry, if updatedAt is still its UpdatedAt.
func (a *Admin) DeleteEventType(ctx context.Context, name string, updatedAt time.Time) error {
	return a.change(ctx, func(tx database.DB) error { return a.catalogue().Delete(ctx, tx.Tx(), name, updatedAt) })
}

func (a *Admin) catalogue() catalogue.Catalogue {
	return catalogue.Catalogue{Pool: a.pool, Schema: a.Schema}
}
