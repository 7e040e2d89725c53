package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write docs/settings.md")

const referenceHead = `# Settings

Every setting is a flag and an environment variable. A flag wins over its variable; an empty flag stands for the default, and
an empty variable counts as not given. A duration is written like ` + "`250ms`, `30s`, `1h30m` or `7d`" + `, a size like ` + "`512KiB`" + `. What can be
given several times is a repeated flag, or a variable with commas. All mistakes are reported together, each with its setting.

What says where the database or a server is, or how a server works, has one variable for all commands. What one call of a
command does has the command's name in its variable: one that is left in the environment changes no other command.

Exit codes: 0 when it is done, 1 when it failed, 2 when a setting is wrong and nothing ran, 130 when a signal ended it before
it was done. ` + "`serve` and `tail`" + ` run until a signal ends them, and then exit with 0.

This page is written from the settings themselves: ` + "`go test ./cmd/outcrier -run Reference -update`" + `.
`

// reference is docs/settings.md, as the settings say it.
func reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if !cmd.IsAvailableCommand() && cmd.HasParent() {
			return
		}
		if groups := groupsOf(cmd.Flags()); cmd.Runnable() && len(groups) > 0 && !cmd.HasSubCommands() || cmd.Name() == "token" {
			fmt.Fprintf(&b, "\n## %s\n\n%s.\n", cmd.CommandPath(), cmd.Short)
			var same []string
			for _, g := range groups {
				if cmd.Name() != "serve" && (g.name == "Database" || g.name == "Log" || g.name == "Access") {
					same = append(same, "*"+g.name+"*")
					continue
				}
				writeGroup(&b, g)
			}
			if same != nil {
				fmt.Fprintf(&b, "\nWith the settings of %s, as `serve` has them.\n", strings.Join(same, " and "))
			}
		}
		subs := cmd.Commands()
		slices.SortStableFunc(subs, func(a, b *cobra.Command) int { return order(a) - order(b) })
		for _, sub := range subs {
			visit(sub)
		}
	}
	visit(newRoot(process{}))
	return b.String()
}

// order has serve first, whose settings the others have in part.
func order(cmd *cobra.Command) int {
	if cmd.Name() == "serve" {
		return 0
	}
	return 1
}

func writeGroup(b *strings.Builder, g group) {
	if g.name == groupOther {
		return
	}
	fmt.Fprintf(b, "\n**%s**\n\n| flag | variable | default | |\n|---|---|---|---|\n", g.name)
	for _, f := range g.flags {
		s := f.Value.(*flagText).setting
		standing := "–"
		if s.initial != "" {
			standing = "`" + s.initial + "`"
		}
		what := s.help
		if name := s.typeName(); s.allow != "" {
			if name != s.allow {
				what += ": " + name
			}
			what += ", " + allowed(s.allow).String()
		}
		fmt.Fprintf(b, "| `--%s` | `%s` | %s | %s |\n", s.flag, strings.Join(s.variables(), "`, `"), standing, strings.ReplaceAll(what, "|", `\|`))
	}
}

// TestReference_IsWhatTheSettingsSay: docs/settings.md has each setting of each command.
func TestReference_IsWhatTheSettingsSay(t *testing.T) {
	const path = "../../docs/settings.md"
	want := reference()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("docs/settings.md is not what the settings say: go test ./cmd/outcrier -run Reference -update (%v)", err)
	}
}

// TestVariables_MeanOneThing: a variable that several commands read is the same setting in
// each, or says to each the same thing of the server that all of them are about.
func TestVariables_MeanOneThing(t *testing.T) {
	shared := map[string]bool{}
	for _, name := range []string{
		// Where the database and the server are, and who asks.
		"OUTCRIER_DIRECT_URL", "OUTCRIER_URL", "OUTCRIER_TOKEN",
		// Settings of a server that health and token take too, by the same names.
		"OUTCRIER_LISTEN", "OUTCRIER_TLS_CERT", "OUTCRIER_AUTOCERT_HOST",
		"OUTCRIER_JWT_SECRET", "OUTCRIER_JWT_SECRET_FILE", "OUTCRIER_JWT_ISSUER", "OUTCRIER_JWT_AUDIENCE",
	} {
		shared[name] = true
	}
	meanings := map[string]map[string]bool{}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			text, ours := f.Value.(*flagText)
			if !ours {
				return
			}
			for _, name := range text.setting.variables() {
				if meanings[name] == nil {
					meanings[name] = map[string]bool{}
				}
				meanings[name][fmt.Sprintf("--%s: %s (%s %s)", f.Name, text.setting.help, text.setting.initial, text.setting.allow)] = true
			}
		})
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(process{}))
	for _, name := range []string{"HEAD", "SINCE", "UNTIL", "OUTPUT", "NAME", "JSON"} { // of one call, and likely to be another program's
		if meanings["OUTCRIER_"+name] != nil {
			t.Errorf("OUTCRIER_%s has no scope", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(meanings)) {
		if len(meanings[name]) > 1 && !shared[name] {
			t.Errorf("%s means %q", name, slices.Sorted(maps.Keys(meanings[name])))
		}
		delete(shared, name)
	}
	if len(shared) > 0 {
		t.Errorf("there is no variable %v", shared)
	}
}
