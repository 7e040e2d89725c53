// Package scenes runs the scenes of a program and prints one line of JSON for each.
package scenes

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
)

// URL returns the database's address, the program's only argument.
func URL() string { return os.Args[1] }

// Stack prints the name and the version of the module that the program shows.
func Stack(name, module string) {
	info, _ := debug.ReadBuildInfo()
	for _, dep := range info.Deps {
		if dep.Path == module {
			show(map[string]any{"stack": name, "version": strings.TrimPrefix(dep.Version, "v")})
		}
	}
}

// Run runs one scene by work, which returns the id of its event, several as a slice, or nil.
func Run(name string, work func() (any, error)) {
	id, err := work()
	if err != nil {
		fmt.Fprintln(os.Stderr, name, err)
		show(map[string]any{"scene": name, "ok": false, "error": err.Error()})
		return
	}
	show(map[string]any{"scene": name, "ok": true, "id": id})
}

func show(line map[string]any) {
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		panic(err)
	}
}
