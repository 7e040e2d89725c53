package main

import (
	"errors"
	"strings"
)

// separator separates the values of a repeated setting. No topic, type or header can
// contain it, while all can contain a comma.
const separator = "\n"

// flagText is a flag that keeps its text unchanged. Only load parses it, together with the
// variables, so that mistakes in both are reported alike.
type flagText struct {
	setting setting
	text    string
	given   bool
}

func (f *flagText) String() string { return f.text }
func (f *flagText) Type() string   { return f.setting.typeName() }

// Set takes the text of one more use of the flag. The last one counts, except for a setting
// that can be repeated.
func (f *flagText) Set(text string) error {
	if f.setting.repeats() {
		if strings.Contains(text, separator) {
			return errors.New("a line break can't be part of it")
		}
		if f.given {
			text = f.text + separator + text
		}
	}
	f.text, f.given = text, true
	return nil
}
