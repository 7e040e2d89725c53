package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
)

// listing prints events for a person, one a line. On a terminal it is a table as wide as
// that, in colour, with payloads cut short; elsewhere each event is printed whole and plainly.
type listing struct {
	w        io.Writer
	terminal *terminal
	day      string // of the event before
	// Columns grow with their content, up to widest.
	id, topic, kind int
}

// widest is the cells that a topic or type can take in the table.
const widest = 32

func newListing(w io.Writer, environ []string) *listing {
	return &listing{w: w, terminal: terminalOf(w, environ), id: 4, topic: 12, kind: 16}
}

// print prints one event, which is CloudEvents JSON.
func (l *listing) print(event json.RawMessage) error {
	var e struct {
		ID, Topic, Type string
		Time            time.Time
		Data            json.RawMessage
	}
	if err := json.Unmarshal(event, &e); err != nil {
		return fmt.Errorf("an event of the server: %w", err)
	}
	at := e.Time.Local()
	if l.terminal == nil {
		_, err := fmt.Fprintf(l.w, "%s  %s  %s  %s  %s\n", at.Format("2006-01-02T15:04:05.000Z07:00"), e.ID, printable(e.Topic), printable(e.Type), oneLine(e.Data))
		return err
	}
	var line strings.Builder
	paint := l.terminal.paint
	if day := at.Format(time.DateOnly); day != l.day {
		l.day = day
		fmt.Fprintf(&line, "%s\n", paint(dim, "── "+day+" "+strings.Repeat("─", max(0, min(60, l.terminal.width()-len(day)-5)))))
	}
	id, topic, kind := column(e.ID, &l.id), column(printable(e.Topic), &l.topic), column(printable(e.Type), &l.kind)
	const clock = "15:04:05.000"
	left := l.terminal.width() - len(clock) - l.id - l.topic - l.kind - 8
	if left < 12 {
		// Too narrow for a table.
		kind := cut(printable(e.Type), l.terminal.width()-3)
		fmt.Fprintf(&line, "%s  %s\n  %s\n  %s\n", paint(dim, at.Format(clock)), paint(cyan, cut(printable(e.Topic), l.terminal.width()-len(clock)-3)),
			paint(bold, kind), cut(oneLine(e.Data), l.terminal.width()-3))
	} else {
		fmt.Fprintf(&line, "%s  %s  %s  %s  %s\n", paint(dim, at.Format(clock)), paint(dim, id), paint(cyan, topic), paint(bold, kind), cut(oneLine(e.Data), left))
	}
	_, err := io.WriteString(l.w, line.String())
	return err
}

// missing prints that there is a gap here.
func (l *listing) missing(reason string) {
	if l.terminal != nil {
		fmt.Fprintln(l.w, l.terminal.paint(yellow, "── events are missing here: "+printable(reason)))
	}
}

// column is text as wide as its column, which it may widen.
func column(text string, cells *int) string {
	text = cut(text, widest)
	filled := pad(text, *cells)
	*cells = max(*cells, runewidth.StringWidth(filled))
	return filled
}
