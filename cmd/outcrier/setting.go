package main

import (
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/outcrier/outcrier/internal/units"
)

// setting is a flag of a command, with its value as it was written and its mistake. The tags
// of a field describe it:
//
//	IdleTurn time.Duration `name:"idle-turn" default:"1s" allow:"10ms..60s" help:"…"`
//
// kong reads name, default, group and help. Our own are:
//
//	allow    the allowed values, in the form of allowed; any without it
//	fallback another variable, read when neither flag nor variable is set
//	secret   the value is never shown
//	bare     what the flag stands for without a value
//	scope    the command, in front of the name in the variable
//
// A setting about where the database or the server is, or how a server works, has one
// variable for all commands. A setting of one call of a command has a scope: so a variable
// that is left in the environment changes no other command.
//
// A slice or a map is a flag that can be repeated, or a variable with commas. The structs that
// several configs embed have exported names, because only then reflection can set their fields.
type setting struct {
	kong.Mapper // of the field's type
	flag        *kong.Flag
	given       []string // with the flag, one for each time
	text        string   // the value as it was written, "" when it wasn't
	origin      origin
	problem     string // a phrase that follows name and value, "" for none
}

// attach makes settings of the flags of all commands.
func attach(parser *kong.Kong) error {
	parser.Model.HelpFlag.Help = "print the help and exit"
	for _, command := range parser.Model.Leaves(false) {
		for _, flag := range command.Flags {
			flag.Mapper = &setting{Mapper: flag.Mapper, flag: flag}
			if flag.Group != nil {
				flag.Group.Title = flag.Group.Key + ":"
			}
			flag.HasDefault = false                // load reads it
			flag.Tag.Sep, flag.Tag.MapSep = -1, -1 // load separates
		}
	}
	return nil
}

// Decode keeps the text of one more use of the flag. Only load reads it, together with the
// variables, so that mistakes in both are reported alike.
func (s *setting) Decode(ctx *kong.DecodeContext, _ reflect.Value) error {
	next, isBool := ctx.Scan.Peek(), s.flag.Target.Kind() == reflect.Bool
	switch {
	case next.Type == kong.FlagValueToken: // behind a "="
	case isBool:
		s.given = append(s.given, "true")
		return nil
	case s.flag.Tag.Has("bare") && (next.IsEOL() || strings.HasPrefix(next.String(), "-")):
		s.given = append(s.given, s.flag.Tag.Get("bare"))
		return nil
	case next.IsEOL():
		return errors.New("needs a value")
	}
	s.given = append(s.given, ctx.Scan.Pop().String())
	return nil
}

// mappers read the types that kong would read otherwise than Go, or not byte for byte.
var mappers = []kong.Option{
	kong.KindMapper(reflect.String, mapper(func(text string) (string, error) { return text, nil })),
	kong.TypeMapper(reflect.TypeFor[bool](), mapper(strconv.ParseBool)),
	kong.TypeMapper(reflect.TypeFor[int](), mapper(strconv.Atoi)),
	kong.TypeMapper(reflect.TypeFor[time.Duration](), mapper(units.Duration)),
}

func mapper[T any](parse func(string) (T, error)) kong.Mapper {
	return kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		value, err := parse(ctx.Scan.Pop().String())
		target.Set(reflect.ValueOf(value).Convert(target.Type()))
		return err
	})
}

// variablePrefix begins the name of every variable that is ours.
const variablePrefix = "OUTCRIER_"

// variables returns the environment variables of s, the one that wins first.
func (s *setting) variables() []string {
	name := s.flag.Name
	if scope := s.flag.Tag.Get("scope"); scope != "" {
		name = scope + "-" + name
	}
	names := []string{variablePrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))}
	if fallback := s.flag.Tag.Get("fallback"); fallback != "" {
		names = append(names, fallback)
	}
	return names
}

func (s *setting) allow() allowed { return allowed(s.flag.Tag.Get("allow")) }

// repeats reports whether s can be repeated.
func (s *setting) repeats() bool { return s.flag.IsCumulative() }

// listed reports whether commas separate the values of s in flags too: where there is a list
// of allowed values, none of them contains a comma.
func (s *setting) listed() bool { return s.repeats() && s.allow() != "" }

// PlaceHolder returns what the value, or each of them, is, in one word.
func (s *setting) PlaceHolder(*kong.Flag) string {
	switch kind := s.flag.Target.Type(); {
	case kind == reflect.TypeFor[time.Duration]():
		return "duration"
	case kind == reflect.TypeFor[time.Time]():
		return "time"
	case kind == reflect.TypeFor[byteSize]():
		return "size"
	case kind.Kind() == reflect.Bool:
		return "bool"
	case kind.Kind() == reflect.Int, kind.Kind() == reflect.Float64:
		return "number"
	case kind.Kind() == reflect.Map:
		return "name=value"
	case s.allow() != "":
		return string(s.allow())
	}
	return "text"
}

// want returns how a good value is written.
func (s *setting) want() string {
	forms := []string{map[string]string{
		"duration": "a duration like 250ms, 30s, 1h30m or 7d", "time": "a time like 2026-11-22T02:00:00Z (RFC 3339)",
		"size": "a number of bytes like 65536, 512KiB or 4MiB", "bool": "true or false", "number": "a number",
		"name=value": "name=value",
	}[s.PlaceHolder(nil)]}
	if s.flag.Target.Kind() == reflect.Int {
		forms[0] = "a whole number"
	}
	if s.allow() != "" {
		forms = append(forms, s.allow().String())
	}
	return strings.Join(forms, ", ")
}

// describe returns the help of a flag, with its variables, the allowed values and the default.
func describe(value *kong.Value) string {
	s, ours := value.Mapper.(*setting)
	if !ours {
		return value.Help
	}
	facts := []string{strings.Join(s.variables(), ", ")}
	switch {
	case s.listed():
		facts = append(facts, "several separated by commas")
	case s.repeats():
		facts = append(facts, "separated by commas; the flag can be repeated")
	}
	if s.allow() != "" && s.PlaceHolder(nil) != string(s.allow()) {
		facts = append(facts, s.allow().String())
	}
	if value.Default != "" {
		facts = append(facts, "default "+value.Default)
	}
	return value.Help + " (" + strings.Join(facts, "; ") + ")"
}

// unknownVariables returns the variables of environ that have our prefix and belong to no
// setting of any command: misspelt ones, as a rule.
func unknownVariables(model *kong.Application, environ []string) (unknown []string) {
	known := []string{
		"OUTCRIER_PG_BIN",            // pgserver's
		"OUTCRIER_TEST_DATABASE_URL", // outboxtest's
	}
	for _, command := range model.Leaves(false) {
		for _, s := range settingsOf(command) {
			known = append(known, s.variables()[0])
		}
	}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, variablePrefix) && !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// settingsOf returns the settings of a command, in the order of its fields.
func settingsOf(command *kong.Node) (settings report) {
	for _, flag := range command.Flags {
		settings = append(settings, flag.Mapper.(*setting)) //nolint:forcetypeassert // by attach
	}
	return settings
}
