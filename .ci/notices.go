// Command notices prints the licences of all that the binary and the demo are made of: of
// each module and of Go itself. It fails for a module without one, and for a licence that
// has not been reviewed yet.
//
//	go run .ci/notices.go >THIRD_PARTY_NOTICES
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	text, err := notices()
	if err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
	_, _ = os.Stdout.Write(text)
}

// module is a part of the binary.
type module struct{ Path, Version, Dir string }

// platforms are those of .goreleaser.yaml: each has packages of its own.
var platforms = []string{"linux", "darwin"}

func notices() ([]byte, error) {
	dirs := map[module]map[string]bool{}
	for _, platform := range platforms {
		if err := list(platform, dirs); err != nil {
			return nil, err
		}
	}
	// One text stands once, with all who have it.
	holders, texts := map[[32]byte][]string{}, map[[32]byte]string{}
	var wrong []error
	for m, packages := range dirs {
		found, err := licences(m, packages)
		if err != nil {
			wrong = append(wrong, err)
		}
		for _, text := range found {
			sum := sha256.Sum256([]byte(text))
			texts[sum] = text
			if name := strings.TrimSpace(m.Path + " " + m.Version); !slices.Contains(holders[sum], name) {
				holders[sum] = append(holders[sum], name)
			}
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	for sum := range holders {
		slices.Sort(holders[sum])
	}
	var out bytes.Buffer
	out.WriteString("Outcrier is made of the following, under the licences below. Made by: make notices\n")
	for _, sum := range slices.SortedFunc(maps.Keys(holders), func(a, b [32]byte) int {
		return strings.Compare(holders[a][0]+texts[a], holders[b][0]+texts[b])
	}) {
		fmt.Fprintf(&out, "\n%s\n", strings.Repeat("=", 80))
		for _, name := range holders[sum] {
			out.WriteString(name + "\n")
		}
		fmt.Fprintf(&out, "%s\n\n%s\n", strings.Repeat("-", 80), texts[sum])
	}
	return out.Bytes(), nil
}

// list adds the folders of the packages that the binary of a platform has, by module.
func list(platform string, dirs map[module]map[string]bool) error {
	command := exec.Command("go", "list", "-deps", "-json=Dir,Standard,Module", "./cmd/outcrier", "./examples/demo") //nolint:noctx // it ends by itself
	command.Env = append(os.Environ(), "GOOS="+platform, "GOARCH=amd64", "CGO_ENABLED=0")
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return fmt.Errorf("list the packages for %s: %w", platform, err)
	}
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var one struct {
			Dir      string
			Standard bool
			Module   *struct {
				module
				Main bool
			}
		}
		if err := decoder.Decode(&one); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var m module
		switch {
		case one.Standard:
			root, err := exec.Command("go", "env", "GOROOT").Output() //nolint:noctx // it ends by itself
			if err != nil {
				return err
			}
			m = module{Path: "Go", Dir: strings.TrimSpace(string(root))}
			if dirs[m] != nil {
				continue
			}
			one.Dir = m.Dir
		case one.Module.Main:
			continue
		default:
			m = one.Module.module
		}
		if dirs[m] == nil {
			dirs[m] = map[string]bool{}
		}
		dirs[m][one.Dir] = true
	}
}

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)([-._].*)?$`)

// kinds are the licences that were looked at: all allow what we do with a notice.
var kinds = []*regexp.Regexp{
	regexp.MustCompile(`Apache License`), regexp.MustCompile(`Permission is hereby granted, free of charge`),
	regexp.MustCompile(`Redistribution and use in source and binary forms`), regexp.MustCompile(`Permission to use, copy, modify, and(/or)? distribute`),
	regexp.MustCompile(`Mozilla Public License`),
}

// licences are the texts of a module: of its root, and of each folder down to a package.
func licences(m module, packages map[string]bool) (texts []string, err error) {
	folders := map[string]bool{m.Dir: true}
	for dir := range packages {
		for ; strings.HasPrefix(dir, m.Dir) && dir != m.Dir; dir = filepath.Dir(dir) {
			folders[dir] = true
		}
	}
	known := false
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if entry.IsDir() || !licenceFile.MatchString(entry.Name()) || strings.HasSuffix(entry.Name(), ".go") {
				continue
			}
			content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
			if err != nil {
				return nil, err
			}
			text := strings.TrimSpace(strings.ReplaceAll(string(content), "\r\n", "\n"))
			if strings.Contains(text, "GNU GENERAL PUBLIC LICENSE") || strings.Contains(text, "GNU AFFERO") {
				return nil, fmt.Errorf("%s is under a licence of GNU: %s", m.Path, entry.Name())
			}
			known = known || slices.ContainsFunc(kinds, func(kind *regexp.Regexp) bool { return kind.MatchString(text) })
			texts = append(texts, text)
		}
	}
	if !known {
		return nil, fmt.Errorf("%s has no licence that is known", m.Path)
	}
	return texts, nil
}
