package main

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/pflag"

	"github.com/outcrier/outcrier/internal/duration"
)

// origin is where a setting's value comes from; a higher one wins.
type origin int

const (
	fromDefault  origin = iota
	fromFallback        // a variable that isn't ours, like DATABASE_URL
	fromVariable
	fromFlag
)

// load fills c, a pointer to a config, from flags and environ. Its error holds
// all that is wrong with the settings, not only the first: mistakes.
func load(c config, flags *pflag.FlagSet, environ []string) error {
	r := gather(settingsOf(c), flags, environ)
	err := env.ParseWithOptions(c, env.Options{
		Environment:         r.texts,
		TagName:             "flag",
		DefaultValueTagName: "default",
		FuncMap: map[reflect.Type]env.ParserFunc{
			reflect.TypeFor[time.Duration](): func(text string) (any, error) { return duration.Parse(text) },
		},
	})
	if err := r.unreadable(err); err != nil {
		return err
	}
	r.outside(reflect.ValueOf(c).Elem())
	c.check(r)
	return r.err()
}

// report has the sources of a config, and the mistakes in it.
type report struct {
	settings []setting
	texts    map[string]string // the values as text, by flag
	origins  map[string]origin // where from, by flag
	mistakes mistakes
}

// gather collects the values and their origins.
func gather(settings []setting, flags *pflag.FlagSet, environ []string) *report {
	variables := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		variables[name] = value
	}
	r := &report{settings: settings, texts: map[string]string{}, origins: map[string]origin{}}
	for _, s := range settings {
		if flags.Changed(s.flag) {
			// An empty flag stands for the default, whatever the variables hold.
			if text := flags.Lookup(s.flag).Value.String(); text != "" {
				if s.listed() {
					text = strings.ReplaceAll(text, separator, ",")
				}
				r.texts[s.flag], r.origins[s.flag] = text, fromFlag
			}
			continue
		}
		for i, name := range s.variables() {
			text := variables[name]
			if text == "" {
				continue
			}
			if s.repeats() && !s.listed() {
				text = strings.ReplaceAll(text, ",", separator)
			}
			r.texts[s.flag], r.origins[s.flag] = text, fromVariable-origin(i)
			break
		}
	}
	return r
}

// unreadable rejects the settings whose text isn't of their type. Any other
// error of the parser is a fault in a config's tags, and returned.
func (r *report) unreadable(err error) error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return err
	}
	for _, err := range all.Errors {
		var parse env.ParseError
		if !errors.As(err, &parse) {
			return fmt.Errorf("read settings: %w", err)
		}
		for _, s := range r.settings {
			if s.field == parse.Name {
				r.reject(s.flag, "want %s", s.want())
			}
		}
	}
	return nil
}

// outside rejects the settings whose value isn't among those allowed.
func (r *report) outside(config reflect.Value) {
	for _, s := range r.settings {
		if s.allow == "" || r.rejected(s.flag) {
			continue
		}
		if !allowed(s.allow).admits(config.FieldByName(s.field)) {
			r.reject(s.flag, "want %s", allowed(s.allow))
		}
	}
}

// given reports whether a flag or variable set the value.
func (r *report) given(flag string) bool { return r.origins[flag] != fromDefault }

func (r *report) rejected(flag string) bool {
	return slices.ContainsFunc(r.mistakes, func(m mistake) bool { return m.setting.flag == flag })
}

// reject records a mistake in the setting, as a phrase that follows its name and value.
// Only the first one counts.
func (r *report) reject(flag, format string, args ...any) {
	i := slices.IndexFunc(r.settings, func(s setting) bool { return s.flag == flag })
	if i < 0 {
		panic(fmt.Sprintf("no setting is called %q", flag))
	}
	if r.rejected(flag) {
		return
	}
	m := mistake{index: i, setting: r.settings[i], text: r.texts[flag], problem: fmt.Sprintf(format, args...)}
	r.mistakes = append(r.mistakes, m)
}

// require rejects the setting when it has no value.
func (r *report) require(flag, value string) {
	if value == "" {
		r.reject(flag, "has to be given")
	}
}

func (r *report) err() error {
	if len(r.mistakes) == 0 {
		return nil
	}
	slices.SortFunc(r.mistakes, func(a, b mistake) int { return cmp.Compare(a.index, b.index) })
	return r.mistakes
}

// mistake is one setting that is wrong.
type mistake struct {
	index   int // in the order of the help
	setting setting
	text    string // as it was written, "" when it wasn't
	problem string
}

func (m mistake) String() string {
	name := fmt.Sprintf("--%s (%s)", m.setting.flag, strings.Join(m.setting.variables(), ", "))
	switch {
	case m.text == "":
		return name + ": " + m.problem
	case m.setting.secret:
		return name + ": the value given (not shown): " + m.problem
	default:
		return fmt.Sprintf("%s: %q: %s", name, m.text, m.problem)
	}
}

// mistakes is all that is wrong with the settings of a command.
type mistakes []mistake

// Error has a line for each mistake, after one that counts them.
func (m mistakes) Error() string {
	var b strings.Builder
	if len(m) == 1 {
		b.WriteString("a setting is wrong")
	} else {
		fmt.Fprintf(&b, "%d settings are wrong", len(m))
	}
	for _, each := range m {
		b.WriteString("\n  " + each.String())
	}
	return b.String()
}
