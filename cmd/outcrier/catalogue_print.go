package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/outcrier/outcrier/outbox/catalogue"
)

var entryColours = map[string]string{"info": green, "warning": yellow, "error": red}

// typeTable is the catalogue as text: its first row has the names of the columns, and the last
// column is the title, which is cut to what a terminal has left.
type typeTable struct {
	rows  [][]string
	cells []int // the width of each column
}

// printTypes prints the catalogue for a person, a type a line. On a terminal it is a table as
// wide as that, with a head and in colour; elsewhere whole and plain, with "-" for empty fields.
func printTypes(w io.Writer, t *terminal, types []catalogue.EventType) error {
	table := newTypeTable(types)
	var text string
	switch {
	case t == nil:
		text = table.plain()
	case table.fit(t.width()):
		text = table.coloured(t)
	default:
		text = table.stacked(t)
	}
	_, err := io.WriteString(w, text)
	return err
}

func newTypeTable(types []catalogue.EventType) typeTable {
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
	return typeTable{rows, cells}
}

// fit makes the columns as wide as a line has room for, and reports whether that is enough for
// a table.
func (table typeTable) fit(width int) bool {
	cells, last := table.cells, len(table.cells)-1
	cells[0] = min(cells[0], widest)
	cells[last] = width - 1
	for _, n := range cells[:last] {
		cells[last] -= n + 2
	}
	return cells[last] >= 12
}

// plain has no head: programs use --json, but grep should get none either.
func (table typeTable) plain() string {
	var out strings.Builder
	last := len(table.cells) - 1
	for _, row := range table.rows[1:] {
		for i, text := range row[:last] {
			out.WriteString(pad(text, table.cells[i]) + "  ")
		}
		out.WriteString(row[last] + "\n")
	}
	return out.String()
}

func (table typeTable) coloured(t *terminal) string {
	var out strings.Builder
	for n, row := range table.rows {
		for i, text := range row {
			text = pad(cut(text, table.cells[i]), table.cells[i])
			switch {
			case n == 0:
				text = t.paint(dim, text)
			case i == 0:
				text = t.paint(bold, text)
			case i == 1:
				text = t.paint(entryColours[row[1]], text)
			}
			if i > 0 {
				out.WriteString("  ")
			}
			out.WriteString(text)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// stacked has two lines for each type, for a terminal that is too narrow for a table.
func (table typeTable) stacked(t *terminal) string {
	var out strings.Builder
	for _, row := range table.rows[1:] {
		more := strings.Join(row[1:3], "  ") + "  " + row[len(row)-1]
		fmt.Fprintf(&out, "%s\n  %s\n", t.paint(bold, cut(row[0], t.width()-1)), t.paint(entryColours[row[1]], cut(more, t.width()-3)))
	}
	return out.String()
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
