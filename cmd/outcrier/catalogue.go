package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox/catalogue"
)

// catalogueListConfig is the settings of "outcrier catalogue list".
type catalogueListConfig struct {
	DatabaseSettings
	JSON bool `scope:"catalogue-list" name:"json" help:"print it as JSON instead, as GET /catalogue answers"`
	LogSettings
}

// catalogueSetConfig is the settings of "outcrier catalogue set". Settings that are not set
// leave the entry's fields unchanged.
type catalogueSetConfig struct {
	DatabaseSettings
	Type          string   `scope:"catalogue-set" name:"type" help:"the type of event, like audit.approved"`
	Title         string   `scope:"catalogue-set" name:"title" help:"its title; required for a new type"`
	Description   string   `scope:"catalogue-set" name:"description" help:"its meaning, in a sentence or two"`
	Code          string   `scope:"catalogue-set" name:"code" help:"a short name for people to quote, like AUDIT-2; no other type can have it"`
	Severity      string   `scope:"catalogue-set" name:"severity" help:"info, warning or error; info for a new type"`
	Action        string   `scope:"catalogue-set" name:"action" help:"what the client should do: none, refresh, retry, sign_in_again, contact_support, show_details, or one of your clients' own; none for a new type"`
	PayloadSchema string   `scope:"catalogue-set" name:"payload-schema" help:"the JSON Schema that payloads must match; - reads standard input, and null removes it"`
	Clear         []string `scope:"catalogue-set" name:"clear" allow:"description|code|payload-schema" help:"the fields to remove from the entry"`
	JSON          bool     `scope:"catalogue-set" name:"json" help:"read all of the entry from standard input, as JSON with these names; the schema is payload_schema"`
	LogSettings
}

// catalogueRemoveConfig is the settings of "outcrier catalogue remove".
type catalogueRemoveConfig struct {
	DatabaseSettings
	Type string `scope:"catalogue-remove" name:"type" help:"the type to remove from the catalogue; its events stay, and more can be appended"`
	LogSettings
}

func (catalogueSetConfig) Help() string {
	return `Describes a type of events, or changes what is given and leaves the rest:

  outcrier catalogue set --type order.filled --title 'Order filled' --action refresh
  outcrier catalogue set --type order.filled --payload-schema - < order.schema.json
  outcrier catalogue set --type order.filled --clear code,payload-schema

With --json all of the entry comes from standard input.`
}

func (c *catalogueListConfig) check(r *report) { c.required(r) }

func (c *catalogueRemoveConfig) check(r *report) {
	c.required(r)
	r.require("type", c.Type)
}

func (c *catalogueSetConfig) check(r *report) {
	c.required(r)
	if c.JSON {
		for _, flag := range []string{"type", "title", "description", "code", "severity", "action", "payload-schema", "clear"} {
			if r.given(flag) {
				r.reject(flag, "is in the JSON, with --json")
			}
		}
		return
	}
	r.require("type", c.Type)
	if c.PayloadSchema != "" && c.PayloadSchema != "-" && !json.Valid([]byte(c.PayloadSchema)) {
		r.reject("payload-schema", `want JSON, like '{"type": "object"}', - for standard input, or null`)
	}
	for _, flag := range c.Clear {
		if r.given(flag) {
			r.reject("clear", "--%s is given too: either sets it or takes it away", flag)
		}
	}
}

// withCatalogue calls fn with the catalogue.
func (d DatabaseSettings) withCatalogue(fn func(catalogue.Catalogue) error) error {
	return d.withPool(func(pool *pgxpool.Pool) error { return fn(catalogue.Catalogue{Pool: pool, Schema: d.Schema}) })
}

func (c catalogueListConfig) Run(ctx context.Context, p process) error {
	return c.withCatalogue(func(stored catalogue.Catalogue) error {
		types, err := stored.List(ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(p.stdout, entries{types})
		}
		return printTypes(p.stdout, terminalOf(p.stdout, p.environ), types)
	})
}

func (c catalogueSetConfig) Run(ctx context.Context, p process) error {
	var whole *catalogue.EventType
	var err error
	if c.JSON {
		if whole, err = readStdin[catalogue.EventType](p.input(ctx, "the entry as JSON"), "an entry, like "+exampleEntry); err != nil {
			return err
		}
		c.Type = whole.Type
	} else if c.PayloadSchema == "-" {
		schema, err := readStdin[json.RawMessage](p.input(ctx, "the JSON Schema"), "a JSON Schema")
		if err != nil {
			return err
		}
		c.PayloadSchema = string(*schema)
	}
	return c.edit(ctx, p, func(types []catalogue.EventType) ([]catalogue.EventType, error) {
		i := slices.IndexFunc(types, func(t catalogue.EventType) bool { return t.Type == c.Type })
		if i < 0 {
			i, types = len(types), append(types, catalogue.EventType{Type: c.Type})
		}
		if whole != nil {
			types[i] = *whole
			return types, nil
		}
		if types[i].Title == "" && c.Title == "" {
			return nil, fmt.Errorf("the catalogue does not have type %q yet: give its --title too", c.Type)
		}
		c.apply(&types[i])
		return types, nil
	})
}

// apply changes the fields of an entry that are set, and removes those to be cleared.
func (c catalogueSetConfig) apply(t *catalogue.EventType) {
	for field, text := range map[*string]string{&t.Title: c.Title, &t.Description: c.Description, &t.Severity: c.Severity, &t.Action: c.Action} {
		if text != "" {
			*field = text
		}
	}
	if c.Code != "" {
		t.Code = &c.Code
	}
	if c.PayloadSchema != "" {
		t.PayloadSchema = json.RawMessage(c.PayloadSchema)
	}
	for _, name := range c.Clear {
		switch name {
		case "description":
			t.Description = ""
		case "code":
			t.Code = nil
		case "payload-schema":
			t.PayloadSchema = nil
		}
	}
}

func (c catalogueRemoveConfig) Run(ctx context.Context, p process) error {
	return c.edit(ctx, p, func(types []catalogue.EventType) ([]catalogue.EventType, error) {
		kept := slices.DeleteFunc(slices.Clone(types), func(t catalogue.EventType) bool { return t.Type == c.Type })
		if len(kept) == len(types) {
			return nil, fmt.Errorf("the catalogue has no type %q; outcrier catalogue list shows those that it has", c.Type)
		}
		return kept, nil
	})
}

// edit changes the catalogue, and prints the changes.
func (d DatabaseSettings) edit(ctx context.Context, p process, wanted func([]catalogue.EventType) ([]catalogue.EventType, error)) error {
	return d.withCatalogue(func(stored catalogue.Catalogue) error {
		changes, err := stored.Edit(ctx, false, wanted)
		if err != nil {
			return err
		}
		return printChanges(p, changes, false)
	})
}
