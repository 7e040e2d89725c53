package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// commands is the command line, which kong reads from the tags: each command is a struct of
// its settings.
type commands struct {
	VersionFlag kong.VersionFlag `name:"version" short:"v" help:"print the version and exit"`

	Serve   serveConfig `cmd:"" help:"Serve the outbox as streams, until a signal ends it"`
	Migrate struct {
		Up     migrateUpConfig     `cmd:"" help:"Apply all migrations that the database lacks"`
		Status migrateStatusConfig `cmd:"" help:"List the migrations, and which are applied"`
		SQL    migrateSQLConfig    `cmd:"" name:"sql" help:"Print the schema, or a later step of it, as a plain SQL script"`
		Roles  migrateRolesConfig  `cmd:"" help:"Make the roles outcrier_writer, _reader, _server, _operator, _eraser and _two_phase, and grant each what it needs"`
		Drop   migrateDropConfig   `cmd:"" help:"Drop the schema and its view with all events, after asking"`
	} `cmd:"" help:"Make, change, show or drop the schema of the outbox"`
	Append appendConfig `cmd:"" help:"Append an event in a transaction of its own, and print its id"`
	Tail   tailConfig   `cmd:"" help:"Follow events in the terminal, or hand them to a program"`
	Token  struct {
		Mint   tokenConfig  `cmd:"" default:"withargs" help:"Mint a token for development, and print it; \"outcrier token\" alone does it too"`
		Revoke revokeConfig `cmd:"" help:"Revoke tokens before they expire"`
	} `cmd:"" help:"Mint a token for development, or revoke tokens"`
	Catalogue struct {
		List   catalogueListConfig   `cmd:"" help:"List the types, by name"`
		Set    catalogueSetConfig    `cmd:"" help:"Describe a type, or change its description"`
		Remove catalogueRemoveConfig `cmd:"" help:"Remove a type from the catalogue"`
		Export catalogueExportConfig `cmd:"" help:"Print all entries as JSON, to keep with the code"`
		Import catalogueImportConfig `cmd:"" help:"Add and change entries from standard input, all or none"`
		Types  catalogueTypesConfig  `cmd:"" help:"Print the payloads of all types as TypeScript, for the JavaScript module"`
	} `cmd:"" help:"Show or change the catalogue: what types of events mean"`
	Audit struct {
		Verify auditVerifyConfig `cmd:"" help:"Find records of the audit that were removed or altered"`
		Export auditExportConfig `cmd:"" help:"Print the records of the audit as JSON, one a line"`
	} `cmd:"" help:"Verify or export the audit: who was sent what, who published, what admins asked and did"`
	Doctor  doctorConfig  `cmd:"" help:"Examine the database, a token and the way to readers, and say what to mend"`
	Health  healthConfig  `cmd:"" help:"Ask a server whether it is ready, for health checks"`
	Version versionConfig `cmd:"" help:"Print the version, the commit, Go's and the schema's"`
}

const about = `Outcrier tails a Postgres outbox table and streams its events to browsers over Server-Sent Events.

Every setting is a flag and an environment variable: --idle-turn is OUTCRIER_IDLE_TURN. A flag wins over its variable; an empty flag stands for the default, and an empty variable counts as not given. DATABASE_URL is read where OUTCRIER_DATABASE_URL is not given.

For completion in bash: complete -C outcrier outcrier`

// command is a command that can run: a struct whose fields are settings.
type command interface {
	// check completes the settings that depend on others, and rejects wrong ones that the
	// tags can't detect.
	check(r *report)
	logger(w io.Writer) *slog.Logger
	Run(ctx context.Context, p process) error
}

// called is a command with its settings.
type called struct {
	command
	path    string   // "outcrier migrate up"
	unknown []string // variables that belong to no setting
}

// newParser returns the parser of a grammar, which calls exit when it has printed the help
// or the version.
func newParser(grammar any, p process, exit func(int)) (*kong.Kong, error) {
	return kong.New(grammar, append(mappers,
		kong.Name("outcrier"), kong.Description(about), kong.Vars{"version": strings.TrimSpace(builtFrom().String())},
		kong.Writers(p.stdout, p.stderr), kong.Exit(exit), kong.WithHyphenPrefixedParameters(true), kong.PostBuild(attach),
		kong.Help(printHelp), kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.ValueFormatter(describe),
	)...)
}

// parse reads args and p.environ into the grammar. The command is nil where the help or the
// version was asked for, and is printed. The error holds all that is wrong with the
// settings, not only the first mistake.
func parse(grammar any, args []string, p process) (c called, err error) {
	c.path = "outcrier"
	printed := false
	parser, err := newParser(grammar, p, func(int) { printed = true })
	if err != nil {
		return c, err
	}
	if line := variable(p.environ, "COMP_LINE"); line != "" {
		complete(p.stdout, parser.Model.Node, line)
		return c, nil
	}
	if len(args) > 0 && args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	ctx, err := parser.Parse(args)
	if printed {
		return c, nil
	}
	if wrong, ok := errors.AsType[*kong.ParseError](err); ok {
		ctx = wrong.Context
	}
	node := ctx.Selected()
	if node == nil {
		node = ctx.Model.Node
	}
	c.path = node.FullPath()
	switch rest := ctx.Path[len(ctx.Path)-1].Remainder(); {
	case ctx.Error != nil && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && !slices.Contains(names(node), rest[0]):
		return c, misplaced(rest[0], node, ctx.Error)
	case ctx.Error == nil && node.Children != nil:
		return c, fmt.Errorf("no command given, want %s", enumerate(names(node)))
	case err != nil:
		return c, err
	}
	c.command = node.Target.Addr().Interface().(command) //nolint:forcetypeassert // a fault in the grammar
	c.unknown = unknownVariables(parser.Model, p.environ)
	settings := settingsOf(node)
	for _, s := range settings {
		s.load(p.environ)
	}
	c.check(&settings)
	return c, settings.err()
}

// misplaced returns the error of a word where a command or a flag is wanted. kong's has the
// commands that are near, if there are some.
func misplaced(word string, node *kong.Node, err error) error {
	if node.Children == nil {
		return fmt.Errorf("unexpected argument %q, settings are given as --name value", word)
	}
	if node.Name == "migrate" && word == "down" {
		return errors.New("there is no step back: older nodes work with a newer schema; drop removes the schema with all events")
	}
	wants := "want " + enumerate(names(node))
	if _, near, found := strings.Cut(err.Error(), ", did you mean "); found {
		wants = "did you mean " + near
	}
	return fmt.Errorf("unknown command %q, %s", word, wants)
}

// printHelp prints the help of kong; that of a group whose first command needs no name goes
// on with that command's.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	if terminalOf(ctx.Stdout, nil) == nil {
		_ = os.Setenv("COLUMNS", "10000") // one line for each setting, for grep
	}
	err := kong.DefaultHelpPrinter(options, ctx)
	if group := ctx.Selected(); err == nil && group != nil && group.DefaultCmd != nil {
		ctx.Path = append(ctx.Path, &kong.Path{Command: group.DefaultCmd})
		fmt.Fprintln(ctx.Stdout)
		err = kong.DefaultHelpPrinter(options, ctx)
	}
	return err
}

// names returns the names of a group's commands.
func names(group *kong.Node) (names []string) {
	for _, command := range group.Children {
		names = append(names, command.Name)
	}
	return names
}

// complete prints the words that line can go on with, as "complete -C outcrier outcrier" of
// bash expects it.
func complete(w io.Writer, node *kong.Node, line string) {
	words := strings.Split(line, " ")
	begun := words[len(words)-1]
	for _, word := range words[1:max(1, len(words)-1)] {
		for _, child := range node.Children {
			if child.Name == word {
				node = child
			}
		}
	}
	candidates := names(node)
	if node.DefaultCmd != nil && strings.HasPrefix(begun, "-") {
		node = node.DefaultCmd
	}
	for _, flag := range node.Flags {
		candidates = append(candidates, "--"+flag.Name)
	}
	for _, word := range candidates {
		if strings.HasPrefix(word, begun) {
			fmt.Fprintln(w, word)
		}
	}
}
