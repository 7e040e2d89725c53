package main

import (
	"reflect"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// setting is one thing that can be set, as the tags of its field in a config
// describe it:
//
//	IdleTurn time.Duration `flag:"idle-turn" default:"1s" allow:"10ms..60s" help:"…"`
//
// A setting about where the database or the server is, or how a server works, has one
// variable for all commands. A setting of one call of a command has the command in its
// variable, by the tag scope: so a variable that is left in the environment changes no
// other command.
//
// A field that is a slice or a map can be repeated. Field names are unique within a config,
// embedded structs included.
type setting struct {
	field string       // the field's name
	kind  reflect.Type // the field's type

	flag     string // without dashes; the variable's name follows from it
	initial  string // tag "default": the value when nothing is set
	allow    string // the allowed values, in the form of allowed; "" for any
	fallback string // another variable, read when neither flag nor variable is set
	help     string // a phrase
	secret   bool   // the value is never shown
	bare     string // what the flag without a value stands for; "" where it needs one
	scope    string // in the variable's name before the flag's; "" for none
	group    string // tag "group", of the field or of the struct that it is in: the heading in the help
}

// settingsOf lists config's settings, in the order of its fields.
func settingsOf(config any) []setting {
	kind := reflect.TypeOf(config)
	if kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	var settings []setting
	for _, field := range reflect.VisibleFields(kind) {
		flag, ok := field.Tag.Lookup("flag")
		if !ok {
			continue
		}
		settings = append(settings, setting{
			field:    field.Name,
			kind:     field.Type,
			flag:     flag,
			initial:  field.Tag.Get("default"),
			allow:    field.Tag.Get("allow"),
			fallback: field.Tag.Get("fallback"),
			help:     field.Tag.Get("help"),
			secret:   field.Tag.Get("secret") == "true",
			bare:     field.Tag.Get("bare"),
			scope:    field.Tag.Get("scope"),
			group:    groupOf(kind, field),
		})
	}
	return settings
}

// groupOf is the tag of a field, or else of the innermost struct around it that has one.
func groupOf(kind reflect.Type, field reflect.StructField) string {
	if group, ok := field.Tag.Lookup("group"); ok {
		return group
	}
	group := ""
	for depth := 1; depth < len(field.Index); depth++ {
		if around, ok := kind.FieldByIndex(field.Index[:depth]).Tag.Lookup("group"); ok {
			group = around
		}
	}
	return group
}

// variablePrefix begins the name of every variable that is ours.
const variablePrefix = "OUTCRIER_"

// variableOf is the environment variable of a flag that has no scope.
func variableOf(flag string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// variables are the environment variables of s, the one that wins first.
func (s setting) variables() []string {
	name := s.flag
	if s.scope != "" {
		name = s.scope + "-" + s.flag
	}
	names := []string{variableOf(name)}
	if s.fallback != "" {
		names = append(names, s.fallback)
	}
	return names
}

// repeats reports whether s can be repeated.
func (s setting) repeats() bool {
	return s.kind.Kind() == reflect.Slice || s.kind.Kind() == reflect.Map
}

// listed reports whether commas separate the values of s in flags too: with a list of
// allowed values, none can contain a comma. Its field has no tag envSeparator.
func (s setting) listed() bool { return s.repeats() && s.allow != "" }

// typeName is what the value, or each of them, is, in one word.
func (s setting) typeName() string {
	kind := s.kind
	if kind.Kind() == reflect.Slice {
		kind = kind.Elem()
	}
	switch kind {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[byteSize]():
		return "size"
	}
	switch kind.Kind() {
	case reflect.Bool:
		return "bool"
	case reflect.Int, reflect.Float64:
		return "number"
	case reflect.Map:
		return "name=value"
	default:
		if s.allow != "" {
			return s.allow
		}
		return "text"
	}
}

// want says what a good value looks like.
func (s setting) want() string {
	var form string
	switch s.typeName() {
	case "duration":
		form = "a duration like 250ms, 30s, 1h30m or 7d"
	case "time":
		form = "a time like 2026-11-22T02:00:00Z (RFC 3339)"
	case "size":
		form = "a number of bytes like 65536, 512KiB or 4MiB"
	case "bool":
		form = "true or false"
	case "number":
		form = "a number"
		if s.kind.Kind() == reflect.Int || s.kind == reflect.TypeFor[[]int]() {
			form = "a whole number"
		}
	case "name=value":
		form = "name=value"
	default:
		return allowed(s.allow).String()
	}
	if s.allow != "" {
		form += ", " + allowed(s.allow).String()
	}
	return form
}

// register makes settings the flags of a command.
func register(flags *pflag.FlagSet, settings []setting) {
	flags.SortFlags = false
	for _, s := range settings {
		usage := s.help + "\n" + strings.Join(s.variables(), ", ")
		switch {
		case s.listed():
			usage += ", several separated by commas"
		case s.repeats():
			usage += ", separated by commas; the flag can be repeated"
		}
		if name := s.typeName(); s.allow != "" && name != s.allow {
			usage += ", " + allowed(s.allow).String()
		}
		flag := flags.VarPF(&flagText{setting: s, text: s.initial}, s.flag, "", usage)
		flag.NoOptDefVal = s.bare
		if s.kind.Kind() == reflect.Bool {
			flag.NoOptDefVal = "true"
		}
	}
}

// unknownVariables lists the variables of environ that have our prefix and
// belong to no setting of any command, sorted as in environ: misspelt ones, as
// a rule.
func unknownVariables(root *cobra.Command, environ []string) []string {
	known := map[string]bool{
		"OUTCRIER_PG_BIN":            true, // pgserver's
		"OUTCRIER_TEST_DATABASE_URL": true, // outboxtest's
	}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			if text, ours := flag.Value.(*flagText); ours {
				known[text.setting.variables()[0]] = true
			}
		})
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(root)

	var unknown []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, variablePrefix) && !known[name] {
			unknown = append(unknown, name)
		}
	}
	return unknown
}
