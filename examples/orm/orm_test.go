package orm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// scenes are what every program shows, in this order.
var scenes = []string{"one", "many", "transaction", "rollback", "returning", "null", "default", "json", "retry", "clone", "read"}

// line is what a program says of one scene.
type line struct {
	Stack, Version string // the first line

	Scene string
	OK    bool
	ID    any // one id, several, or null
	Error string
	Skip  string // why the stack has no such scene
}

// ids returns the ids that the program says it got, in order.
func (l line) ids() (ids []string) {
	several, ok := l.ID.([]any)
	if !ok && l.ID != nil {
		several = []any{l.ID}
	}
	for _, id := range several {
		ids = append(ids, fmt.Sprint(id)) // a number, or text where a language has no such number
	}
	return ids
}

// run returns what the program says.
func run(t *testing.T, cmd *exec.Cmd) (lines []line) {
	t.Helper()
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\n%s%s", cmd, &out, &log)
		}
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	for text := range strings.Lines(out.String()) {
		var l line
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		lines = append(lines, l)
	}
	return lines
}

// result is a row of the table in README.md.
type result struct {
	stack, version string
	passed         map[string]int // by login
	skipped        []string
}

// Every stack appends as the role that we tell people to use, and as the owner.
func TestStacks(t *testing.T) {
	shop := newShop(t)
	var mu sync.Mutex
	results := map[string]result{}
	t.Run("stack", func(t *testing.T) {
		for _, s := range stacks {
			t.Run(s.folder, func(t *testing.T) {
				t.Parallel()
				built := s.made(t)
				r := result{passed: map[string]int{}}
				for _, login := range []string{"writer", "owner"} {
					t.Run(login, func(t *testing.T) {
						d := shop.database(t)
						lines := run(t, s.run(s, "main", built, d.address(login)))
						r.stack, r.version = lines[0].Stack, lines[0].Version
						r.passed[login], r.skipped = d.verify(t, lines[1:])
					})
				}
				mu.Lock()
				defer mu.Unlock()
				results[s.folder] = r
			})
		}
	})
	switch {
	case t.Failed():
		return
	case len(results) < len(stacks):
		t.Skip("not all stacks are installed: the table is not compared")
	}
	compareTable(t, results)
}

// A stack's schema tools, run by the owner, neither fail nor change anything of the outbox.
func TestSchemaTools(t *testing.T) {
	shop := newShop(t)
	for _, s := range stacks {
		if !s.tools {
			continue
		}
		t.Run(s.folder, func(t *testing.T) {
			t.Parallel()
			built := s.made(t)
			d := shop.database(t)
			before := d.objects(t)
			lines := run(t, s.run(s, "tools", built, d.address("owner")))
			if len(lines) == 0 {
				t.Fatal("it ran no tool")
			}
			for _, l := range lines {
				if !l.OK {
					t.Errorf("%s: %s", l.Scene, l.Error)
				}
				if !strings.Contains(readme(t), l.Scene) {
					t.Errorf("README.md does not name %q", l.Scene)
				}
			}
			if after := d.objects(t); !slices.Equal(after, before) {
				t.Errorf("the tools changed the outbox:\nwas %q\nis  %q", before, after)
			}
		})
	}
}

// verify compares what the program says with what its transactions committed, and returns
// the number of scenes that passed and those that the stack can't do.
func (d database) verify(t *testing.T, lines []line) (passed int, skipped []string) {
	t.Helper()
	events := d.events(t)
	var named []string
	var expected int
	for _, l := range lines {
		named = append(named, l.Scene)
		found := events["orm/"+l.Scene]
		expected += len(found)
		if l.Skip != "" {
			skipped = append(skipped, l.Scene+": "+l.Skip)
			if len(found) > 0 {
				t.Errorf("%s is skipped, and left %v", l.Scene, found)
			}
			continue
		}
		if err := d.check(t, l, found); err != nil {
			t.Errorf("%s: %v", l.Scene, err)
			continue
		}
		passed++
	}
	if !slices.Equal(named, scenes) {
		t.Errorf("it shows the scenes %q, want %q", named, scenes)
	}
	var all int
	ids := map[string]bool{}
	for _, found := range events {
		all += len(found)
		for _, e := range found {
			ids[e.ID.String()] = true
		}
	}
	if all != expected {
		t.Errorf("it left %d events, and %d on the topics of the scenes", all, expected)
	}
	if len(ids) != all {
		t.Errorf("%d events have %d ids", all, len(ids))
	}
	return passed, skipped
}

// check reports how the events of a scene differ from the expected ones.
func (d database) check(t *testing.T, l line, found []event) error {
	t.Helper()
	if !l.OK {
		return fmt.Errorf("the program says: %s", l.Error)
	}
	kind, key, headers := "item.added", "", ""
	var payloads []string
	switch l.Scene {
	case "one":
		payloads = []string{`{"item": 1}`}
	case "many":
		payloads = []string{`{"item": 1}`, `{"item": 2}`, `{"item": 3}`}
	case "transaction":
		id, xmin := d.item(t, "lamp")
		if id == "" {
			return fmt.Errorf("the item was not committed")
		}
		payloads = []string{`{"item": ` + id + `}`}
		if len(found) == 1 && found[0].Xmin != xmin {
			return fmt.Errorf("the item is of transaction %s, its event of %s", xmin, found[0].Xmin)
		}
	case "rollback":
		if id, _ := d.item(t, "ghost"); id != "" {
			return fmt.Errorf("the item was committed")
		}
	case "returning":
		payloads = []string{`{"item": 4}`}
	case "null":
		payloads = []string{`{}`}
	case "default": // one row, or two where that is what makes the stack send DEFAULT
		payloads = slices.Repeat([]string{`{}`}, max(1, len(l.ids())))
	case "json":
		payloads = []string{`{"item": {"name": "Lämpchen 灯", "tags": ["new", 2, null], "price": 9.5}}`}
		headers = `{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`
	case "retry":
		payloads, kind, key = []string{`{"item": 7}`}, "item.paid", "item-7-paid"
	case "clone":
		payloads = []string{`{"item": 8}`, `{"item": 8}`}
	case "read":
		payloads = []string{`{"item": 9}`}
	}
	if len(found) != len(payloads) {
		return fmt.Errorf("it left %d events, want %d", len(found), len(payloads))
	}
	slices.SortFunc(found, func(a, b event) int { return strings.Compare(string(a.Payload), string(b.Payload)) })
	var ids []string
	for i, e := range found {
		if !same(string(e.Payload), payloads[i]) {
			return fmt.Errorf("the payload is %s, want %s", e.Payload, payloads[i])
		}
		if e.Type != kind || e.Source != "/" || e.DedupKey != key || !same(string(e.Headers), headers) {
			return fmt.Errorf("event %s has type %q, source %q, dedup_key %q, headers %s", e.ID, e.Type, e.Source, e.DedupKey, e.Headers)
		}
		if !e.Delivered {
			return fmt.Errorf("a tail would not deliver event %s: its xid is %s, its transaction %s", e.ID, e.XID, e.Xmin)
		}
		ids = append(ids, e.ID.String())
	}
	said := l.ids()
	if l.Scene == "retry" { // twice the same
		ids = append(ids, ids...)
	}
	slices.Sort(ids)
	slices.Sort(said)
	if len(said) > 0 && !slices.Equal(said, ids) {
		return fmt.Errorf("it says that the ids are %q, and they are %q", said, ids)
	}
	return nil
}

func same(a, b string) bool {
	if a == "" || b == "" {
		return a == b
	}
	var left, right any
	if json.Unmarshal([]byte(a), &left) != nil || json.Unmarshal([]byte(b), &right) != nil {
		return false
	}
	return reflect.DeepEqual(left, right)
}
