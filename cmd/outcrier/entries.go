package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/outcrier/outcrier/outbox/catalogue"
)

var entryColours = map[string]string{"info": green, "warning": yellow, "error": red}

// printTypes prints the catalogue for a person, a type a line. On a terminal it is a table as
// wide as that, with a head and in colour; elsewhere whole and plain, with "-" for empty fields.
func printTypes(w io.Writer, t *terminal, types []catalogue.EventType) error {
	rows := [][]string{{"type", "severity", "action", "code", "schema", "title"}}
	for _, e := range types {
		code, schema := "-", "-"
		if e.Code != nil {
			code = *e.Code
		}
		if len(e.PayloadSchema) > 0 {
			schema = "yes"
		}
		rows = append(rows, []string{printable(e.Type), e.Severity, e.Action, code, schema, printable(e.Title)})
	}
	cells := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			cells[i] = max(cells[i], runewidth.StringWidth(text))
		}
	}
	last := len(cells) - 1
	if t != nil {
		cells[0] = min(cells[0], widest)
		cells[last] = t.width() - 1
		for _, n := range cells[:last] {
			cells[last] -= n + 2
		}
	}
	var out strings.Builder
	for n, row := range rows {
		switch {
		case t == nil && n == 0: // programs use --json, but grep should get no head either
		case t == nil:
			line := ""
			for i, text := range row[:last] {
				line += pad(text, cells[i]) + "  "
			}
			fmt.Fprintln(&out, line+row[last])
		case cells[last] < 12: // too narrow for a table
			if n > 0 {
				fmt.Fprintf(&out, "%s\n  %s\n", t.paint(bold, cut(row[0], t.width()-1)),
					t.paint(entryColours[row[1]], cut(strings.Join(row[1:3], "  ")+"  "+row[last], t.width()-3)))
			}
		default:
			for i, text := range row {
				text = pad(cut(text, cells[i]), cells[i])
				switch {
				case n == 0:
					text = t.paint(dim, text)
				case i == 0:
					text = t.paint(bold, text)
				case i == 1:
					text = t.paint(entryColours[row[1]], text)
				}
				out.WriteString(text)
				if i < last {
					out.WriteString("  ")
				}
			}
			out.WriteByte('\n')
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// printChanges prints the changes, or those of a dry run, one line per type.
func printChanges(p process, changes []catalogue.Change, would bool) error {
	t := terminalOf(p.stdout, p.environ)
	word := func(colour, text string) string {
		if would {
			text = "would be " + text
		}
		if t == nil {
			return text
		}
		return t.paint(colour, text)
	}
	for _, c := range changes {
		name := printable(c.Type)
		switch {
		case c.Before == nil:
			fmt.Fprintf(p.stdout, "%s %s\n", word(green, "added"), name)
		case c.After == nil:
			fmt.Fprintf(p.stdout, "%s %s\n", word(red, "removed"), name)
		default:
			fmt.Fprintf(p.stdout, "%s %s: %s\n", word(yellow, "changed"), name, strings.Join(c.Fields(), ", "))
		}
	}
	if len(changes) == 0 {
		_, err := fmt.Fprintln(p.stdout, "nothing to change")
		return err
	}
	return nil
}
