package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// several returns a number of things: "1 stream", "2 streams".
func several(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// enumerate joins alternatives for a reader: "a, b or c".
func enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// printable replaces what a terminal would obey, or show in another order: events are
// written by anyone.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// oneLine is JSON without line breaks and without what a terminal would obey.
func oneLine(payload json.RawMessage) string {
	var compact bytes.Buffer
	if bytes.ContainsAny(payload, "\r\n\t") && json.Compact(&compact, payload) == nil {
		payload = compact.Bytes()
	}
	return printable(string(payload))
}

// flat returns a text of others, like a query or an error of several lines, on one line.
func flat(text string) string { return printable(strings.Join(strings.Fields(text), " ")) }
