package docs_test

import (
	"cmp"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestContributing_ListsThePackages: CONTRIBUTING.md has each package of the module, and
// the packages of ours that it imports, tests apart, and no others.
func TestContributing_ListsThePackages(t *testing.T) {
	listed := map[string][]string{}
	_, table, _ := strings.Cut(text(t, "../CONTRIBUTING.md"), "| imports of ours |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) != 5 {
			t.Fatalf("not a row of three cells: %s", row)
		}
		imports := []string{strings.TrimSpace(cells[3])} // all, or none
		if found := span.FindAllStringSubmatch(cells[3], -1); found != nil {
			imports = nil
			for _, name := range found {
				imports = append(imports, name[1])
			}
		}
		for _, name := range span.FindAllStringSubmatch(cells[1], -1) {
			listed[name[1]] = imports
		}
	}
	present := packages(t)
	if len(present) < 20 {
		t.Errorf("only %d packages were found", len(present))
	}
	for _, folder := range slices.Sorted(maps.Keys(present)) {
		allowed, ok := listed[folder]
		if !ok {
			t.Errorf("CONTRIBUTING.md does not list %s", folder)
			continue
		}
		for imported := range present[folder] {
			if !slices.Contains(allowed, "all") && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s, which CONTRIBUTING.md does not say", folder, imported)
			}
		}
	}
	for folder := range listed {
		if present[folder] == nil {
			t.Errorf("CONTRIBUTING.md lists %s, which is no package", folder)
		}
	}
}

// packages are the folders of the module that have Go code, with what they import of
// ours, tests apart.
func packages(t *testing.T) map[string]map[string]bool {
	t.Helper()
	const module = "github.com/outcrier/outcrier"
	all := map[string]map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() {
			_, other := os.Stat(filepath.Join(path, "go.mod"))
			if path != ".." && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata" || other == nil) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		folder := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(path), "../"))
		if folder == ".." {
			folder = "."
		}
		if all[folder] == nil {
			all[folder] = map[string]bool{}
		}
		for _, spec := range parsed.Imports {
			imported, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module)
			if ours && !strings.HasSuffix(path, "_test.go") {
				all[folder][cmp.Or(strings.TrimPrefix(imported, "/"), ".")] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestModules_AreCheckedAndKeptUpToDate: the Makefile checks each module other than the
// root, and dependabot updates its dependencies.
func TestModules_AreCheckedAndKeptUpToDate(t *testing.T) {
	_, listed, _ := strings.Cut(text(t, "../Makefile"), "\nMODULES := ")
	listed, _, _ = strings.Cut(listed, "\n")
	_, updated, _ := strings.Cut(text(t, "../.github/dependabot.yml"), "package-ecosystem: gomod\n    directories: [/, ")
	updated, _, _ = strings.Cut(updated, "]")
	found := 0
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (name == "node_modules" || name == "conformance" || path != ".." && strings.HasPrefix(name, ".")):
			return fs.SkipDir // conformance has a client of each library, of the version that was looked at
		case name != "go.mod" || path == "../go.mod":
			return nil
		}
		found++
		folder := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(path), "../"))
		if !slices.Contains(strings.Fields(listed), folder) {
			t.Errorf("the Makefile's MODULES lack %s", folder)
		}
		if !slices.Contains(strings.Split(updated, ", "), "/"+folder) {
			t.Errorf("dependabot.yml lacks %s", folder)
		}
		if !strings.Contains(text(t, "../CONTRIBUTING.md"), "`"+folder+"`") {
			t.Errorf("CONTRIBUTING.md does not name %s", folder)
		}
		return nil
	})
	if err != nil || found < 4 {
		t.Errorf("%d modules were found: %v", found, err)
	}
}
