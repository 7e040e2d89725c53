package outcrier_test

import (
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
)

// public are the packages that programs outside this module may import.
var public = []string{".", "auth", "auth/login", "client", "handlers", "migrations", "outbox", "outbox/admin", "outbox/audit", "outbox/catalogue", "outbox/jsonschema", "outbox/opentelemetry", "outbox/outboxtest", "outbox/position", "outbox/replay", "outbox/tail", "outbox/upkeep", "sse", "sse/hub", "sse/ssetest", "sse/wire"}

const module = "github.com/outcrier/outcrier"

// No exported identifier mentions an internal type: a program outside of this module
// could not name that type, and so could not use the identifier.
func TestAPI_MentionsNoInternalType(t *testing.T) {
	list := testkit.Go("list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", "./...")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[path] = file
	}
	compiled := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	internal := func(folder string) []string {
		imported, err := compiled.Import(path.Join(module, folder))
		if err != nil {
			t.Fatal(err)
		}
		found := mentions{seen: map[types.Type]bool{}}
		for _, name := range imported.Scope().Names() {
			if object := imported.Scope().Lookup(name); object.Exported() {
				found.look(object.Type(), folder+": "+name)
			}
		}
		return found.internal
	}
	for _, folder := range public {
		for _, found := range internal(folder) {
			t.Error(found)
		}
	}
	if len(internal("internal/metrics")) == 0 {
		t.Error("no internal type is found where all are")
	}
}

// A folder with Go code is public, internal, a command or for the repository's own use.
func TestAPI_KnowsEveryPackage(t *testing.T) {
	private := []string{"internal/", "outbox/internal/", "cmd/", "examples/", "deploy", "docs", "bench/", "e2e/"}
	err := filepath.WalkDir(".", func(file string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == "testdata" || len(file) > 1 && strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		folder := filepath.Dir(file)
		for _, known := range public {
			if folder == known {
				return nil
			}
		}
		for _, known := range append(private, "handlers/admin") {
			if strings.HasPrefix(folder+"/", known) {
				return nil
			}
		}
		return fmt.Errorf("%s is in no list: is it public?", folder)
	})
	if err != nil {
		t.Error(err)
	}
}

// An application that appends needs no module but ours and those of pgx: each further one
// would be built, scanned and updated by every application.
func TestOutbox_NeedsNoModuleButPgx(t *testing.T) {
	modules := func(of string) map[string]bool {
		list := testkit.Go("list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", of)
		list.Stderr = os.Stderr
		out, err := list.Output()
		if err != nil {
			t.Fatal(err)
		}
		needed := map[string]bool{}
		for line := range strings.Lines(string(out)) {
			needed[strings.TrimSpace(line)] = true
		}
		return needed
	}
	pgx := modules("github.com/jackc/pgx/v5/pgxpool")
	for needed := range modules("./outbox") {
		if needed != "" && needed != module && !pgx[needed] {
			t.Errorf("%s is needed to append", needed)
		}
	}
	if !modules("./outbox/jsonschema")["github.com/santhosh-tekuri/jsonschema/v6"] {
		t.Error("no module is found where there is one")
	}
}

// mentions collects the internal types that exported identifiers reach.
type mentions struct {
	seen     map[types.Type]bool
	internal []string
}

func (m *mentions) look(typ types.Type, at string) {
	if m.seen[typ] {
		return
	}
	m.seen[typ] = true
	switch typ := typ.(type) {
	case *types.Alias:
		m.named(typ.Obj(), at)
		m.look(types.Unalias(typ), at)
	case *types.Named:
		if !m.named(typ.Obj(), at) {
			return
		}
		for argument := range typ.TypeArgs().Types() {
			m.look(argument, at)
		}
		for method := range typ.Methods() {
			if method.Exported() {
				m.look(method.Type(), at+"."+method.Name())
			}
		}
		m.look(typ.Underlying(), at)
	case *types.Struct:
		for field := range typ.Fields() {
			if field.Exported() {
				m.look(field.Type(), at+"."+field.Name())
			}
		}
	case *types.Interface:
		for method := range typ.Methods() {
			if method.Exported() {
				m.look(method.Type(), at+"."+method.Name())
			}
		}
	case *types.Signature:
		for v := range typ.Params().Variables() {
			m.look(v.Type(), at)
		}
		for v := range typ.Results().Variables() {
			m.look(v.Type(), at)
		}
	case *types.Pointer:
		m.look(typ.Elem(), at)
	case *types.Slice:
		m.look(typ.Elem(), at)
	case *types.Array:
		m.look(typ.Elem(), at)
	case *types.Chan:
		m.look(typ.Elem(), at)
	case *types.Map:
		m.look(typ.Key(), at)
		m.look(typ.Elem(), at)
	}
}

// named notes an internal type, and reports whether to look into one: those of others are
// theirs.
func (m *mentions) named(name *types.TypeName, at string) bool {
	if name.Pkg() == nil || !strings.HasPrefix(name.Pkg().Path(), module) {
		return false
	}
	if strings.Contains(name.Pkg().Path(), "/internal/") {
		m.internal = append(m.internal, fmt.Sprintf("%s mentions %s.%s", at, name.Pkg().Path(), name.Name()))
		return false
	}
	return true
}
