package orm

import (
	"bytes"
	"encoding/json"
	"errors"
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
	Program string // before the lines of each program that one process runs

	Stack, Version string // the first line of a main

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

// run returns what each of the programs says.
func run(t *testing.T, s stack, steps ...step) (said [][]line) {
	t.Helper()
	for _, cmd := range s.run(s, steps...) {
		said = append(said, say(t, s, cmd)...)
	}
	if len(said) != len(steps) {
		t.Fatalf("of %d programs %d ran", len(steps), len(said))
	}
	return said
}

// say returns what the programs of a process say.
func say(t *testing.T, s stack, cmd *exec.Cmd) (said [][]line) {
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
		s.mustBeThere(t)
		t.Fatalf("%v", err)
	}
	for text := range strings.Lines(out.String()) {
		var l line
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if l.Program != "" || said == nil {
			said = append(said, nil)
		}
		if l.Program == "" {
			said[len(said)-1] = append(said[len(said)-1], l)
		}
	}
	return said
}

// result is a row of the table in README.md.
type result struct {
	stack, version string
	passed         map[string]int // by login
	skipped        []string
}

// Every stack appends as the role that we tell people to use, and as the owner. Its schema
// tools, run by the owner, neither fail nor change anything of the outbox.
func TestStacks(t *testing.T) {
	shop := newShop(t)
	made := map[string]func() error{}
	for language, build := range builds {
		made[language] = sync.OnceValue(build)
	}
	var mu sync.Mutex
	results := map[string]result{}
	t.Run("stack", func(t *testing.T) {
		for _, s := range stacks {
			t.Run(s.folder, func(t *testing.T) {
				t.Parallel()
				if build := made[s.language()]; build != nil {
					if err := build(); errors.Is(err, errMissing) {
						missing(t, "%v", err)
					} else if err != nil {
						t.Fatal(err)
					}
				}
				databases := map[string]database{}
				var steps []step
				for _, login := range []string{"writer", "owner"} {
					databases[login] = shop.database(t)
					steps = append(steps, step{"main", databases[login].address(login)})
				}
				var tooled database
				var before []string
				if s.tools {
					tooled = shop.database(t)
					before = tooled.objects(t)
					steps = append(steps, step{"tools", tooled.address("owner")})
				}
				said := run(t, s, steps...)
				r := result{passed: map[string]int{}}
				for i, login := range []string{"writer", "owner"} {
					t.Run(login, func(t *testing.T) {
						if len(said[i]) == 0 {
							t.Fatal("it says nothing")
						}
						r.stack, r.version = said[i][0].Stack, said[i][0].Version
						r.passed[login], r.skipped = databases[login].verify(t, said[i][1:])
					})
				}
				if s.tools {
					t.Run("tools", func(t *testing.T) { tooled.unchanged(t, before, said[2]) })
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

// unchanged checks that schema tools ran, and left the outbox's objects as they were before.
func (d database) unchanged(t *testing.T, before []string, lines []line) {
	t.Helper()
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
