package main

import (
	"context"
	"errors"
	"slices"

	"github.com/outcrier/outcrier/outbox/catalogue"
)

// catalogueExportConfig is the settings of "outcrier catalogue export".
type catalogueExportConfig struct {
	DatabaseSettings
	LogSettings
}

// catalogueImportConfig is the settings of "outcrier catalogue import".
type catalogueImportConfig struct {
	DatabaseSettings
	Prune  bool `scope:"catalogue-import" name:"prune" help:"remove the types that the input does not have"`
	DryRun bool `scope:"catalogue-import" name:"dry-run" help:"only print what would change"`
	LogSettings
}

func (catalogueExportConfig) Help() string {
	return `Prints all entries as JSON, by type and without their times, so that a file of it differs
where the catalogue does:

  outcrier catalogue export > catalogue.json
  outcrier catalogue import --prune < catalogue.json`
}

func (c *catalogueExportConfig) check(r *report) { c.required(r) }

func (c *catalogueImportConfig) check(r *report) { c.required(r) }

// entries is the catalogue as JSON.
type entries struct {
	Types []catalogue.EventType `json:"types"`
}

const exampleEntry = `{"type": "order.filled", "title": "Order filled"}`

func (c catalogueExportConfig) Run(ctx context.Context, p process) error {
	return c.withCatalogue(func(stored catalogue.Catalogue) error {
		types, err := stored.List(ctx)
		if err != nil {
			return err
		}
		type entry struct {
			catalogue.EventType
			UpdatedAt *string `json:"updated_at,omitempty"` // hides the other
		}
		all := []entry{}
		for _, t := range types {
			all = append(all, entry{EventType: t})
		}
		return printJSON(p.stdout, map[string]any{"types": all})
	})
}

func (c catalogueImportConfig) Run(ctx context.Context, p process) error {
	given, err := readStdin[entries](p.input(ctx, "the entries as JSON"), `{"types": [`+exampleEntry+`, …]}, as export prints it`)
	if err != nil {
		return err
	}
	if given.Types == nil {
		return errors.New(`standard input has no "types": want {"types": [` + exampleEntry + `, …]}, as export prints it`)
	}
	return c.withCatalogue(func(stored catalogue.Catalogue) error {
		changes, err := stored.Edit(ctx, c.DryRun, func(types []catalogue.EventType) ([]catalogue.EventType, error) {
			if c.Prune {
				return given.Types, nil
			}
			kept := slices.DeleteFunc(types, func(t catalogue.EventType) bool {
				return slices.ContainsFunc(given.Types, func(g catalogue.EventType) bool { return g.Type == t.Type })
			})
			return append(kept, given.Types...), nil
		})
		if err != nil {
			return err
		}
		return printChanges(p, changes, c.DryRun)
	})
}
