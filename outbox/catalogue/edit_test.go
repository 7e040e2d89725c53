package catalogue_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/catalogue"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	_ "github.com/outcrier/outcrier/outbox/jsonschema"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// Edits of the catalogue exclude each other: of two that change the same entry at the
// same time neither overwrites the other. An edit needs no more rights than the server
// has, and a role that may only read changes nothing.
func TestCatalogue_EditsFollowEachOther(t *testing.T) {
	url := outboxtest.URL(t)
	if err := (migrations.Migrations{URL: url}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	as := func(role string) catalogue.Catalogue {
		config, err := outbox.PoolConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		config.ConnConfig.RuntimeParams["role"] = role
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return catalogue.Catalogue{Pool: pool}
	}
	server := as("outcrier_server")
	const name = "trade.executed"
	edit := func(c catalogue.Catalogue, what func(*catalogue.EventType)) ([]catalogue.Change, error) {
		return c.Edit(t.Context(), false, func(types []catalogue.EventType) ([]catalogue.EventType, error) {
			for i := range types {
				if types[i].Type == name {
					what(&types[i])
				}
			}
			return types, nil
		})
	}
	second := make(chan error)
	_, err := edit(server, func(e *catalogue.EventType) {
		e.Title = "First"
		const alsoSQL = `DO $$ BEGIN LOCK TABLE outcrier.event_type IN SHARE ROW EXCLUSIVE MODE NOWAIT; END $$`
		if _, err := server.Pool.Exec(t.Context(), alsoSQL); err == nil {
			t.Error("another edits at the same time")
		}
		go func() {
			_, err := edit(server, func(e *catalogue.EventType) { e.Description = "Second" })
			second <- err
		}()
	})
	if err := errors.Join(err, <-second); err != nil {
		t.Fatal(err)
	}
	types, err := server.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range types {
		if e.Type == name && (e.Title != "First" || e.Description != "Second") {
			t.Errorf("it says %+v", e)
		}
	}
	if _, err := edit(as("outcrier_reader"), func(e *catalogue.EventType) { e.Title = "Reader's" }); err == nil {
		t.Error("who reads may write")
	}
	// A dry run and a refused edit have changed nothing.
	before := sqltest.Ask1[string](t, server.Pool, `SELECT md5(string_agg(t::text, '' ORDER BY type)) FROM outcrier.event_type AS t`)
	bad := catalogue.EventType{Type: "b", Title: "B", PayloadSchema: []byte(`{"type":7}`)}
	_, err = server.Edit(t.Context(), false, func(types []catalogue.EventType) ([]catalogue.EventType, error) {
		return append(types[1:], catalogue.EventType{Type: "a", Title: "A"}, bad), nil
	})
	var invalid *catalogue.EntryError
	if !errors.As(err, &invalid) || invalid.Type != "b" {
		t.Errorf("%v", err)
	}
	changes, err := server.Edit(t.Context(), true, func(types []catalogue.EventType) ([]catalogue.EventType, error) { return types[1:], nil })
	if err != nil || len(changes) != 1 || changes[0].After != nil {
		t.Errorf("%+v, %v", changes, err)
	}
	if after := sqltest.Ask1[string](t, server.Pool, `SELECT md5(string_agg(t::text, '' ORDER BY type)) FROM outcrier.event_type AS t`); after != before {
		t.Error("something was changed")
	}
}
