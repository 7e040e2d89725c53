package torture

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	gotoken "go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
)

// mutant breaks the code on purpose, by replacing pieces of source that must
// each be there once.
type mutant struct {
	name  string
	edits []edit
}

type edit struct{ file, old, new string }

// mutants are the ways in which other designs are broken, and those in which
// this one could be.
var mutants = []mutant{
	{"deliver by id > last", []edit{
		{"outbox/tail/read.go", "UNION ALL ` + aroundBranch + ` UNION ALL ` + lateBranch + `\nORDER", "UNION ALL ` + newBranch + ` UNION ALL ` + lateBranch + `\nORDER"},
		{"outbox/tail/read.go", "WHERE xid > $1 AND xid < (SELECT pg_snapshot_xmax(pg_current_snapshot()))`", "WHERE id > $3 AND $1::xid8 IS NOT NULL`"},
		{"outbox/tail/read.go", "WHERE xid = ANY(` + ended + `) AND xid <= $1", "WHERE xid = ANY(` + ended + `) AND false"},
		{"outbox/tail/read.go", "from.Given.Max, from.Given.Except)", "from.Given.Max, from.Given.Except, from.EventID)"},
		{"outbox/tail/read.go", "	if few {\n", "	if false {\n"},
	}},
	{"the snapshot's xmax as M", []edit{
		{"outbox/internal/table/snapshot.go", "position.NewSet(to.Anchor.XID, s.InProgress)", "position.NewSet(max(to.Anchor.XID, s.Max-1), s.InProgress)"},
		{"outbox/position/pack.go", "	if p.Anchor.XID != top {\n", "	if p.Anchor.XID > top {\n"},
	}},
	{"a lower bound on id", []edit{
		{"outbox/tail/read.go", "xid < high OFFSET 0", "xid < high AND id > $3 OFFSET 0"},
		{"outbox/tail/read.go", "from.Given.Max, from.Given.Except)", "from.Given.Max, from.Given.Except, from.EventID)"},
		{"outbox/tail/read.go", "	if few {\n", "	if false {\n"},
	}},
	{"order by xid", []edit{
		{"outbox/tail/read.go", "ORDER BY id, xid`", "ORDER BY snapshot DESC, xid, id`"},
		{"outbox/tail/read.go", "return cmp.Compare(a.ID, b.ID) })", "return cmp.Or(cmp.Compare(a.XID, b.XID), cmp.Compare(a.ID, b.ID)) })"},
	}},
	{"no position within a read", []edit{
		{"sse/wire/frame.go", "	if !f.Last {\n", "	if f.Serial < 0 {\n"},
	}},
	{"forget what is in flight at the start", []edit{
		{"outbox/internal/table/snapshot.go", "	at, _, err := Advance(position.Position{History: history, Anchor: position.Anchor{XID: position.SettledXID}}, r)\n", "	at, _, err := Advance(position.Position{History: history, Anchor: position.Anchor{XID: position.SettledXID}}, r)\n	at.Given.Except = nil\n"},
	}},
	{"hand over from another W", []edit{
		{"sse/stream.go", "	if err := t.replay(ctx, received, w); err != nil {\n		return err\n	}\n	if !t", "	if err := t.replay(ctx, received, t.Hub.Position()); err != nil {\n		return err\n	}\n	if !t"},
	}},
	{"register a read too late", []edit{
		{"sse/hub/hub.go", "	s.from, s.start = h.reads+1, h.starts\n", "	s.from, s.start = h.reads+2, h.starts\n"},
	}},
	{"the tail forgets what was in flight", []edit{
		{"outbox/tail/read.go", "WHERE xid = ANY(` + ended + `) AND xid <= $1", "WHERE xid = ANY(` + ended + `) AND false"},
	}},
	{"a replay forgets what was in flight", []edit{
		{"outbox/replay/replay.go", "(o.xid > $1 OR o.xid = ANY ($2::xid8[]))", "(o.xid > $1 OR false AND o.xid = ANY ($2::xid8[]))"},
	}},
	{"a resume in the middle of a read starts it again", []edit{
		{"outbox/replay/range.go", "From: from, To: end, After: p.EventID})", "From: from, To: end})"},
	}},
	{"a full queue drops its oldest frame", []edit{
		{"sse/hub/subscription.go", "		s.lag()\n		return true\n", "		s.queue = append(s.queue[1:], f)\n		return true\n"},
	}},
	{"a full queue is recalled without its oldest frame", []edit{
		{"sse/hub/subscription.go", "	s.next = s.queue[0].Serial\n", "	s.next = s.queue[0].Serial + 1\n"},
	}},
	{"what was recalled is queued too", []edit{
		{"sse/hub/subscription.go", "s.last >= f.Serial", "s.last == f.Serial"},
	}},
	{"the parts of a read taken for reads", []edit{
		{"sse/hub/buffer.go", "= &events[i], read, b.serial", "= &events[i], &wire.Read{From: read.From, To: read.To, Number: read.Number, At: read.At, Keys: read.Keys}, b.serial"},
	}},
	{"a node that lags repeats what another has sent", []edit{
		{"sse/join.go", "ahead: !w.Given.Covers(received.Given)}", "ahead: false}"},
	}},
	{"a topic that the view does not check", []edit{
		{"migrations/00003_outbox.sql", "    AND topic COLLATE \"C\" ~ '^[^\\u0001-\\u001f\\u007f-\\u009f*/]+(?:/[^\\u0001-\\u001f\\u007f-\\u009f*/]+)*$'\n", ""},
	}},
	{"an id taken from the caller", []edit{
		{"migrations/00003_outbox.sql", "    NEW.id := pg_catalog.nextval('outcrier.event_id'::pg_catalog.regclass);\n", "    NEW.id := coalesce(NEW.id, pg_catalog.nextval('outcrier.event_id'::pg_catalog.regclass));\n"},
	}},
	{"a key for another event let through", []edit{
		{"migrations/00003_outbox.sql", "        PERFORM outcrier.same_event(e, holder.topic::text, holder.type::text);\n", ""},
	}},
	{"a key that outlives its event", []edit{
		{"migrations/00003_outbox.sql", "AND o.created_at = holder.created_at AND o.topic <> '')", "AND o.created_at = holder.created_at)"},
		{"migrations/00005_erase.sql", "        DELETE FROM outcrier.dedup AS d WHERE d.id = ANY (ids || planned);\n", ""},
	}},
	{"a settled row as new", []edit{
		{"migrations/00001_event.sql", "    NEW.xid := '3';\n", "    NEW.xid := pg_current_xact_id();\n"},
	}},
	{"a change without a marker", []edit{
		{"migrations/00001_event.sql", "    INSERT INTO outcrier.event (topic, type) VALUES ('', 'outcrier.erased');\n", ""},
	}},
	{"an erasure that the tail does not see", []edit{
		{"outbox/tail/read.go", "		r.Forget = true\n", ""},
	}},
	{"an erasure that skips a node's memory", []edit{
		{"sse/hub/buffer.go", "		b.erase(read)\n", ""},
	}},
	{"an erasure that skips the queues", []edit{
		{"sse/hub/hub.go", "			s.erase()\n", "			_ = s\n"},
		{"sse/hub/hub.go", "	h.release()\n	var f", "	var f"},
	}},
}

// apply writes the mutant's files to folder, and returns them as an overlay.
func (m mutant) apply(t *testing.T, root, folder string) map[string]string {
	t.Helper()
	overlay := map[string]string{}
	sources := map[string]string{}
	for _, e := range m.edits {
		if sources[e.file] == "" {
			source, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				t.Fatal(err)
			}
			sources[e.file] = string(source)
		}
		if n := strings.Count(sources[e.file], e.old); n != 1 {
			t.Fatalf("%s: %q is there %d times", e.file, e.old, n)
		}
		sources[e.file] = strings.Replace(sources[e.file], e.old, e.new, 1)
	}
	for file, source := range sources {
		mutated := filepath.Join(folder, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(mutated, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay[filepath.Join(root, file)] = mutated
	}
	return overlay
}

// TestMutants_Apply keeps the mutants in step with the code, and sees that they are
// Go: make mutants runs them. To compile each would take a minute, so their packages are
// only checked for types, against the compiled packages that they import.
func TestMutants_Apply(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	packages := listPackages(t, root)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			overlay := m.apply(t, root, t.TempDir())
			for folder := range foldersOf(overlay) {
				if err := packages.check(folder, overlay); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// The check is one: it refuses text that is no Go, and takes the code as it is.
	broken := mutant{edits: []edit{{"sse/hub/subscription.go", "s.last >= f.Serial", "s.last >= f.Serials"}}}
	if err := packages.check(filepath.Join(root, "sse/hub"), broken.apply(t, root, t.TempDir())); err == nil || !strings.Contains(err.Error(), "Serials") {
		t.Errorf("a field that is not there: %v", err)
	}
	if err := packages.check(filepath.Join(root, "sse/hub"), nil); err != nil {
		t.Error(err)
	}
}

// foldersOf returns the folders of the Go files of an overlay.
func foldersOf(overlay map[string]string) map[string]bool {
	folders := map[string]bool{}
	for file := range overlay {
		if strings.HasSuffix(file, ".go") {
			folders[filepath.Dir(file)] = true
		}
	}
	return folders
}

// packages are those that the mutants are in, by folder, and all that they import.
type packages struct {
	files    map[string][]string
	compiled types.Importer
	set      *gotoken.FileSet
}

// listPackages compiles the packages of the repository, as go test has done already.
func listPackages(t *testing.T, root string) packages {
	t.Helper()
	args := []string{"list", "-export", "-deps", "-f", `{{.ImportPath}}|{{.Export}}|{{.Dir}}|{{join .GoFiles "|"}}`}
	if testkit.RaceDetector() {
		args = append(args, "-race")
	}
	list := exec.Command("go", append(args, "./outbox/...", "./sse/...", "./migrations")...)
	list.Dir, list.Stderr = root, t.Output()
	output, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	p := packages{files: map[string][]string{}, set: gotoken.NewFileSet()}
	exports := map[string]string{}
	for line := range strings.Lines(string(output)) {
		parts := strings.Split(strings.TrimSpace(line), "|")
		exports[parts[0]], p.files[parts[2]] = parts[1], parts[3:]
	}
	p.compiled = importer.ForCompiler(p.set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	return p
}

// check parses the package in a folder, with files of an overlay in place of its own, and
// checks its types.
func (p packages) check(folder string, overlay map[string]string) error {
	var files []*ast.File
	for _, name := range p.files[folder] {
		file := filepath.Join(folder, name)
		if mutated := overlay[file]; mutated != "" {
			file = mutated
		}
		parsed, err := parser.ParseFile(p.set, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, parsed)
	}
	if len(files) == 0 {
		return fmt.Errorf("no Go package is in %s", folder)
	}
	config := types.Config{Importer: p.compiled, Sizes: types.SizesFor("gc", runtime.GOARCH)}
	_, err := config.Check(folder, p.set, files, nil)
	return err
}
