package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// origin is where a setting's value comes from; a higher one wins.
type origin int

const (
	fromDefault  origin = iota
	fromFallback        // a variable that isn't ours, like DATABASE_URL
	fromVariable
	fromFlag
)

// load sets the field of a setting from its flag, its variables or its default. It keeps a
// mistake for the report, since all mistakes are shown together.
func (s *setting) load(environ []string) {
	s.flag.Target.SetZero()
	for _, value := range s.values(environ) {
		input := &kong.DecodeContext{Value: s.flag.Value, Scan: kong.ScanAsType(kong.FlagValueToken, value)}
		switch {
		case s.repeats() && value == "":
			s.reject("none can be empty")
		case s.repeats() && strings.Contains(value, "\n"):
			s.reject("a line break can't be part of it")
		case s.Mapper.Decode(input, s.flag.Target) != nil:
			s.reject("want %s", s.want())
		}
	}
	if allow := s.allow(); s.problem == "" && allow != "" && !allow.admits(s.flag.Target) {
		s.reject("want %s", allow)
	}
}

// values returns the values of a setting as text, and records where they are from.
func (s *setting) values(environ []string) []string {
	if len(s.given) > 0 {
		s.text, s.origin = s.given[len(s.given)-1], fromFlag
		if s.repeats() {
			s.text = strings.Join(s.given, ",")
		}
	} else {
		for i, name := range s.variables() {
			if text := variable(environ, name); text != "" && s.text == "" {
				s.text, s.origin = text, fromVariable-origin(i)
			}
		}
	}
	switch {
	case s.text == "" && s.flag.Default == "":
		s.origin = fromDefault
		return nil
	case s.text == "": // an empty flag stands for the default, whatever the variables hold
		s.origin = fromDefault
		return []string{s.flag.Default}
	case s.listed() || s.repeats() && s.origin != fromFlag:
		return strings.Split(s.text, ",")
	case s.repeats():
		return s.given
	}
	return []string{s.text}
}

// reject records a mistake in the setting, as a phrase that follows its name and value. Only
// the first one counts.
func (s *setting) reject(format string, args ...any) {
	if s.problem == "" {
		s.problem = fmt.Sprintf(format, args...)
	}
}

// mistake is the line of the report about the setting.
func (s *setting) mistake() string {
	name := fmt.Sprintf("\n  --%s (%s): ", s.flag.Name, strings.Join(s.variables(), ", "))
	switch {
	case s.text == "":
		return name + s.problem
	case s.flag.Tag.Has("secret"):
		return name + "the value given (not shown): " + s.problem
	}
	return fmt.Sprintf("%s%q: %s", name, s.text, s.problem)
}

// report is the settings of a command with the mistakes in them, in the order of its help.
type report []*setting

func (r report) setting(flag string) *setting {
	i := slices.IndexFunc(r, func(s *setting) bool { return s.flag.Name == flag })
	if i < 0 {
		panic(fmt.Sprintf("no setting is called %q", flag))
	}
	return r[i]
}

// given reports whether a flag or variable set the value.
func (r report) given(flag string) bool { return r.setting(flag).origin != fromDefault }

func (r report) reject(flag, format string, args ...any) {
	r.setting(flag).reject(format, args...)
}

// require rejects the setting when it has no value.
func (r report) require(flag, value string) {
	if value == "" {
		r.reject(flag, "has to be given")
	}
}

// err has a line for each mistake, after one that counts them. It is nil if there are none.
func (r report) err() error {
	var lines []string
	for _, s := range r {
		if s.problem != "" {
			lines = append(lines, s.mistake())
		}
	}
	switch len(lines) {
	case 0:
		return nil
	case 1:
		return errors.New("a setting is wrong" + lines[0])
	}
	return fmt.Errorf("%d settings are wrong%s", len(lines), strings.Join(lines, ""))
}
