package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"

	"github.com/outcrier/outcrier/outbox/catalogue"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// catalogued calls "outcrier catalogue" on a database of the test's own.
func catalogued(t *testing.T) func(stdin string, args ...string) output {
	t.Helper()
	environ := []string{"DATABASE_URL=" + outboxtest.URL(t)}
	return func(stdin string, args ...string) output {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"catalogue"}, args...), environ, strings.NewReader(stdin), &stdout, &stderr)
		return output{code, stdout.String(), stderr.String()}
	}
}

func TestCatalogue_IsEditedByWhatIsGiven(t *testing.T) {
	call := catalogued(t)
	const name = "order.filled"
	for _, step := range []struct {
		stdin string
		args  []string
		want  string
	}{
		{"", []string{"set", "--type", name, "--title", "Order filled"}, "added order.filled\n"},
		{"", []string{"set", "--type", name, "--title", "Order filled"}, "nothing to change\n"},
		{"", []string{"set", "--type", name, "--code", "ORD-1", "--severity", "warning", "--action", "refresh", "--description", "All of it."}, "changed order.filled: code, description, severity, action\n"},
		{`{"type":  "object"}`, []string{"set", "--type", name, "--payload-schema", "-"}, "changed order.filled: payload_schema\n"},
		{"", []string{"set", "--type", name, "--payload-schema", `{"type":"object"}`}, "nothing to change\n"},
		{"", []string{"list"}, "order.filled        warning   refresh          ORD-1     yes     Order filled\n"},
		{"", []string{"set", "--type", name, "--payload-schema", "null"}, "changed order.filled: payload_schema\n"},
		{"", []string{"set", "--type", name, "--clear", "Code"}, "changed order.filled: code\n"},
		{"", []string{"set", "--type", name, "--clear", "code"}, "nothing to change\n"},
		{"", []string{"list"}, "order.filled        warning   refresh          -         -       Order filled\n"},
		{"", []string{"set", "--type", name, "--code", "ORD-1", "--payload-schema", "{}"}, "changed order.filled: code, payload_schema\n"},
		{"", []string{"set", "--type", name, "--title", "Filled", "--clear", "payload-schema,code", "--clear", "description"}, "changed order.filled: code, title, description, payload_schema\n"},
		{"", []string{"list"}, "order.filled        warning   refresh          -         -       Filled\n"},
		{"", []string{"set", "--type", name, "--code", "ORD-1", "--title", "Order filled", "--description", "All of it."}, "changed order.filled: code, title, description\n"},
		{`{"type":"order.filled","title":"Filled"}`, []string{"set", "--json"}, "changed order.filled: code, title, description, severity, action\n"},
		{"", []string{"list"}, "order.filled        info      none             -         -       Filled\n"},
		{"", []string{"remove", "--type", name}, "removed order.filled\n"},
	} {
		got := call(step.stdin, step.args...)
		if got.code != exitDone || !strings.Contains(got.stdout, step.want) || got.stderr != "" {
			t.Errorf("%q: %+v, want %q", step.args, got, step.want)
		}
	}
}

func TestCatalogue_SaysWhatIsAllowed(t *testing.T) {
	call := catalogued(t)
	for _, step := range []struct {
		stdin string
		args  []string
		code  int
		want  string
	}{
		{"", []string{"set", "--type", "a"}, exitFailed, `does not have type "a" yet: give its --title too`},
		{"", []string{"set", "--type", "a", "--title", "A", "--severity", "bad"}, exitFailed, `type "a": severity "bad" is not valid: allowed are info, warning and error`},
		{"", []string{"set", "--type", "a", "--title", "A", "--action", "Do it"}, exitFailed, "allowed are none, refresh"},
		{"", []string{"set", "--type", "outcrier.a", "--title", "A"}, exitFailed, "which is reserved"},
		{"", []string{"set", "--type", "a", "--title", "A", "--code", "TRADE-1"}, exitFailed, `another type has the code "TRADE-1"`},
		{"", []string{"set", "--type", "a", "--title", "A", "--payload-schema", `{"type": 7}`}, exitFailed, "does not compile"},
		{"", []string{"set", "--type", "a", "--title", "A", "--payload-schema", "{"}, exitMistake, "want JSON, like"},
		{"", []string{"set", "--type", "a", "--title", "A", "--payload-schema", "-"}, exitFailed, "standard input is empty, want a JSON Schema"},
		{`{"type":"a","tilte":"A"}`, []string{"set", "--json"}, exitFailed, `unknown field "tilte"; want an entry, like {`},
		{`{"type":"a"}{}`, []string{"set", "--json"}, exitFailed, "more than one JSON value"},
		{`{"types":[]}}`, []string{"import"}, exitFailed, "text after it"},
		{`null`, []string{"import"}, exitFailed, "has null"},
		{`{"type":1}`, []string{"set", "--json"}, exitFailed, "type can't be a JSON number"},
		{"", []string{"set", "--json", "--title", "A"}, exitMistake, "--title (OUTCRIER_CATALOGUE_SET_TITLE): \"A\": is in the JSON"},
		{"", []string{"set", "--json", "--clear", "code"}, exitMistake, "--clear (OUTCRIER_CATALOGUE_SET_CLEAR): \"code\": is in the JSON"},
		{"", []string{"set", "--type", "trade.executed", "--clear", "title"}, exitMistake, "--clear (OUTCRIER_CATALOGUE_SET_CLEAR): \"title\": want description, code or payload-schema"},
		{"", []string{"set", "--type", "trade.executed", "--clear", "payload-schema,CODE", "--code", "T-1"}, exitMistake, "--clear (OUTCRIER_CATALOGUE_SET_CLEAR): \"payload-schema,CODE\": --code is given too"},
		{"", []string{"set", "--type", "a", "--clear", "code"}, exitFailed, `does not have type "a" yet`},
		{"", []string{"set"}, exitMistake, "--type (OUTCRIER_CATALOGUE_SET_TYPE): has to be given"},
		{"", []string{"remove", "--type", "a"}, exitFailed, `no type "a"; outcrier catalogue list shows`},
		{"", []string{"import"}, exitFailed, "standard input is empty"},
		{"{}", []string{"import", "--prune"}, exitFailed, `no "types"`},
		{`{"types":[{"type":"a","title":"A"},{"type":"a","title":"B"}]}`, []string{"import"}, exitFailed, `type "a": it comes twice`},
		{`{"types":[{"type":"a","title":"A"},{"type":"b","title":""}]}`, []string{"import"}, exitFailed, `type "b": title "" is not valid: allowed are 1 to 200`},
	} {
		got := call(step.stdin, step.args...)
		if got.code != step.code || !strings.Contains(got.stderr, step.want) || got.stdout != "" {
			t.Errorf("%q: %+v, want %q", step.args, got, step.want)
		}
	}
	if got := call("", "list"); strings.Count(got.stdout, "\n") != 8 {
		t.Errorf("what was refused has left something:\n%s", got.stdout)
	}
}

// An export equals the import before it, and differs only where the catalogue was
// changed.
func TestCatalogue_IsKeptAsAFile(t *testing.T) {
	call := catalogued(t)
	file := call("", "export").stdout
	if strings.Contains(file, "updated_at") || strings.Count(file, `"type":`) != 8 {
		t.Fatalf("exported is\n%s", file)
	}
	if got := call(file, "import", "--prune"); got.stdout != "nothing to change\n" {
		t.Errorf("%+v", got)
	}
	const other = `{"types":[{"type":"trade.executed","title":"Trade","code":"SYS-1"},{"type":"system.maintenance","title":"Maintenance","code":"TRADE-1"},{"type":"a","title":"<A>"}]}`
	const changed = "added a\nchanged system.maintenance: code, description, severity, action\nchanged trade.executed: code, title, description, action\n"
	if got := call(other, "import", "--dry-run"); got.stdout != "would be "+strings.ReplaceAll(strings.TrimSpace(changed), "\n", "\nwould be ")+"\n" {
		t.Errorf("%+v", got)
	}
	if got := call("", "export"); got.stdout != file {
		t.Errorf("a dry run has changed it:\n%s", got.stdout)
	}
	if got := call(other, "import"); got.stdout != changed {
		t.Errorf("%+v", got)
	}
	if got := call(file, "import", "--prune"); !strings.HasPrefix(got.stdout, "removed a\n") {
		t.Errorf("%+v", got)
	}
	if got := call("", "export"); got.stdout != file {
		t.Errorf("it did not come back:\n%s", got.stdout)
	}
	// What GET /catalogue answers can be imported too.
	if got := call(call("", "list", "--json").stdout, "import"); got.stdout != "nothing to change\n" {
		t.Errorf("%+v", got)
	}
}

func TestEntries_AreATableOnATerminal(t *testing.T) {
	code := "TRADE-1"
	types := []catalogue.EventType{
		{Type: "trade.executed", Code: &code, Title: strings.Repeat("咖啡 ", 60), Severity: "info", Action: "show_details", PayloadSchema: json.RawMessage(`{}`)},
		{Type: strings.Repeat("long.", 20), Title: "\x1b[31mred", Severity: "error", Action: "none"},
	}
	for _, columns := range []uint16{40, 80, 120} {
		tty, shown := screen(t, columns)
		if err := printTypes(tty, terminalOf(tty, nil), types); err != nil {
			t.Fatal(err)
		}
		text := shown()
		if !strings.Contains(text, "\x1b[31merror") || strings.Contains(text, "\x1b[31mred") {
			t.Errorf("%d columns: colours are wrong in\n%q", columns, text)
		}
		for line := range strings.Lines(colours.ReplaceAllString(text, "")) {
			if cells := runewidth.StringWidth(strings.TrimSpace(line)); cells > int(columns) {
				t.Errorf("%d columns: %d are taken by\n%s", columns, cells, line)
			}
		}
	}
	var plain strings.Builder
	if err := printTypes(&plain, nil, types); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(plain.String(), strings.Repeat("咖啡 ", 60)) || strings.Contains(plain.String(), "\x1b") {
		t.Errorf("it is not whole and plain:\n%s", plain.String())
	}
}
