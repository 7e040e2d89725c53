package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
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

Bash completes commands and flags after ` + "`complete -C outcrier outcrier`" + `.

This page is written from the settings themselves: ` + "`go test ./cmd/outcrier -run Reference -update`" + `.
`

// reference is docs/settings.md, as the settings say it.
func reference(model *kong.Application) string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, command := range model.Leaves(false) {
		groups, settings := groupsOf(command)
		if groups == nil {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n", command.FullPath(), command.Help)
		var same []string
		for _, group := range groups {
			if command.Name != "serve" && (group == "Database" || group == "Log" || group == "Access") {
				same = append(same, "*"+group+"*")
				continue
			}
			writeGroup(&b, group, settings[group])
		}
		if same != nil {
			fmt.Fprintf(&b, "\nWith the settings of %s, as `serve` has them.\n", strings.Join(same, " and "))
		}
	}
	return b.String()
}

// groupsOf returns the headings of a command's settings, those without one first, and what is
// beneath them.
func groupsOf(command *kong.Node) (groups []string, settings map[string]report) {
	settings = map[string]report{}
	for _, s := range settingsOf(command) {
		group := "Settings"
		if s.flag.Group != nil {
			group = s.flag.Group.Key
		}
		if settings[group] == nil {
			groups = append(groups, group)
		}
		settings[group] = append(settings[group], s)
	}
	if i := slices.Index(groups, "Settings"); i > 0 {
		groups = slices.Insert(slices.Delete(groups, i, i+1), 0, "Settings")
	}
	return groups, settings
}

func writeGroup(b *strings.Builder, group string, settings report) {
	fmt.Fprintf(b, "\n**%s**\n\n| flag | variable | default | |\n|---|---|---|---|\n", group)
	for _, s := range settings {
		standing := "–"
		if s.flag.Default != "" {
			standing = "`" + s.flag.Default + "`"
		}
		what := s.flag.Help
		if allow := s.allow(); allow != "" {
			if name := s.PlaceHolder(nil); name != string(allow) {
				what += ": " + name
			}
			what += ", " + allow.String()
		}
		fmt.Fprintf(b, "| `--%s` | `%s` | %s | %s |\n", s.flag.Name, strings.Join(s.variables(), "`, `"), standing, strings.ReplaceAll(what, "|", `\|`))
	}
}

// TestReference_IsWhatTheSettingsSay: docs/settings.md has each setting of each command.
func TestReference_IsWhatTheSettingsSay(t *testing.T) {
	const path = "../../docs/settings.md"
	want := reference(model(t))
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
	for _, command := range model(t).Leaves(false) {
		for _, s := range settingsOf(command) {
			for _, name := range s.variables() {
				if meanings[name] == nil {
					meanings[name] = map[string]bool{}
				}
				meanings[name][fmt.Sprintf("--%s: %s (%s %s)", s.flag.Name, s.flag.Help, s.flag.Default, s.allow())] = true
			}
		}
	}
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
