package main

import (
	"io"
	"os"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// terminal is where a person reads what a command writes; nil for a file or a pipe.
type terminal struct {
	fd     int
	colour bool
}

// terminalOf returns the terminal that w is, nil if it is none. environ decides on colours
// (https://no-color.org).
func terminalOf(w io.Writer, environ []string) *terminal {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return &terminal{fd: int(file.Fd()), colour: variable(environ, "NO_COLOR") == "" && variable(environ, "TERM") != "dumb"}
}

// width is how many cells a line has. It can change while a command runs.
func (t *terminal) width() int {
	width, _, err := term.GetSize(t.fd)
	if err != nil || width < 20 {
		return 80
	}
	return width
}

// The colours that are used, of the sixteen that a person's theme defines.
const (
	dim    = "2"
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// paint colours text, where colours are wanted.
func (t *terminal) paint(colour, text string) string {
	if !t.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// cut shortens text to so many cells.
func cut(text string, cells int) string {
	return runewidth.Truncate(text, max(0, cells), "…")
}

// pad fills text up to so many cells.
func pad(text string, cells int) string { return runewidth.FillRight(text, cells) }
