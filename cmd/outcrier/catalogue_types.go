package main

import (
	"context"

	"github.com/outcrier/outcrier/outbox/catalogue"
)

// catalogueTypesConfig is the settings of "outcrier catalogue types".
type catalogueTypesConfig struct {
	DatabaseSettings
	Name string `scope:"catalogue-types" name:"name" default:"Events" help:"the name of the interface"`
	JSON bool   `scope:"catalogue-types" name:"json" help:"read the entries from standard input instead of the database, as export and GET /catalogue print them"`
	LogSettings
}

func (c *catalogueTypesConfig) check(r *report) {
	if !c.JSON {
		c.required(r)
	}
	if !identifier.MatchString(c.Name) {
		r.reject("name", "want a name of letters and digits, like Events")
	}
}

func (c catalogueTypesConfig) Run(ctx context.Context, p process) error {
	if c.JSON {
		given, err := readStdin[entries](p.stdin, `{"types": [`+exampleEntry+`, …]}, as export prints it`)
		if err != nil {
			return err
		}
		return printTypeScript(p.stdout, c.Name, given.Types)
	}
	return c.withCatalogue(func(stored catalogue.Catalogue) error {
		types, err := stored.List(ctx)
		if err != nil {
			return err
		}
		return printTypeScript(p.stdout, c.Name, types)
	})
}

func (catalogueTypesConfig) Help() string {
	return `Prints a TypeScript interface with the payload of each type of event, made from the JSON
Schemas. With it the JavaScript module knows what its listeners get:

  outcrier catalogue types > events.ts
  curl -H "Authorization: Bearer $TOKEN" https://events.example.com/catalogue | outcrier catalogue types --json > events.ts

  const stream = connect<Events>('/events', {topics: ['user/42']});`
}
