package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	span      = regexp.MustCompile("`([^`\n]+)`")
	qualified = regexp.MustCompile(`^([a-z]+)((?:\.[A-Za-z]\w*){1,2})$`)
	sqlObject = regexp.MustCompile(`(?m)^\s*CREATE FUNCTION outcrier\.(\w+)`)
)

// TestArchitecture_NamesWhatThereIs: each function of the walks is declared in the
// package of its row, and each name with a package in that package.
func TestArchitecture_NamesWhatThereIs(t *testing.T) {
	document := text(t, "architecture.md")
	walks := 0
	for _, section := range strings.Split(document, "\n## ") {
		title, body, _ := strings.Cut(section, "\n")
		if !strings.HasPrefix(title, "From ") {
			continue
		}
		walks++
		rows := 0
		for line := range strings.Lines(body) {
			cells := strings.Split(line, "|")
			if len(cells) != 5 || !strings.HasPrefix(line, "| `") {
				continue
			}
			rows++
			folder := strings.Trim(cells[1], " `")
			known := names(t, folder)
			functions := span.FindAllStringSubmatch(cells[2], -1)
			if len(functions) == 0 {
				t.Errorf("%s: no function in %s", title, line)
			}
			for _, function := range functions {
				if !known[function[1]] {
					t.Errorf("%s: package %s has no %s", title, folder, function[1])
				}
			}
			// The last cell explains: where it names a function of this package, by a
			// method or by SQL, that has to be there too.
			for _, other := range span.FindAllStringSubmatch(cells[3], -1) {
				method := regexp.MustCompile(`^[A-Za-z]\w*\.\w+$`).MatchString(other[1]) && !strings.HasPrefix(other[1], "Position.")
				if (method || folder == "migrations" && strings.Contains(other[1], "_")) && !known[other[1]] {
					t.Errorf("%s: package %s has no %s", title, folder, other[1])
				}
			}
		}
		if rows < 5 {
			t.Errorf("%s has %d rows", title, rows)
		}
	}
	if walks != 2 {
		t.Errorf("there are %d walks", walks)
	}
	found := 0
	for _, name := range span.FindAllStringSubmatch(document, -1) {
		parts := qualified.FindStringSubmatch(name[1])
		if parts == nil || parts[1] == "handlers" { // a receiver has that name too
			continue
		}
		switch parts[1] {
		case "outbox", "position", "replay", "tail", "upkeep", "sse", "hub", "wire", "auth", "migrations":
			found++
			folder := parts[1]
			switch folder {
			case "hub", "wire":
				folder = "sse/" + folder
			case "position", "replay", "tail", "upkeep":
				folder = "outbox/" + folder
			}
			if !names(t, folder)[parts[2][1:]] {
				t.Errorf("there is no %s", name[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d names have their package", found)
	}
}

// names are what a package declares: functions and types, and methods and fields as
// Type.Name; of migrations the functions of the schema.
func names(t *testing.T, folder string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	if folder == "migrations" {
		files, err := filepath.Glob("../migrations/*.sql")
		if err != nil || len(files) == 0 {
			t.Fatalf("no migrations: %v", err)
		}
		for _, file := range files {
			for _, found := range sqlObject.FindAllStringSubmatch(text(t, file), -1) {
				all[found[1]] = true
			}
		}
		return all
	}
	files, err := filepath.Glob("../" + folder + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no package %s: %v", folder, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				all[receiver(d)+d.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if declared, ok := spec.(*ast.TypeSpec); ok {
						all[declared.Name.Name] = true
						for _, field := range fields(declared) {
							all[declared.Name.Name+"."+field] = true
						}
					}
				}
			}
		}
	}
	return all
}

// receiver is the type of a method and a dot, or nothing.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	of := d.Recv.List[0].Type
	if pointer, ok := of.(*ast.StarExpr); ok {
		of = pointer.X
	}
	if generic, ok := of.(*ast.IndexExpr); ok {
		of = generic.X
	}
	if name, ok := of.(*ast.Ident); ok {
		return name.Name + "."
	}
	return ""
}

func fields(declared *ast.TypeSpec) (names []string) {
	structure, ok := declared.Type.(*ast.StructType)
	if !ok {
		return nil
	}
	for _, field := range structure.Fields.List {
		for _, name := range field.Names {
			names = append(names, name.Name)
		}
	}
	return names
}
