package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// variable is a setting as it is written in files and in the help.
var variable = regexp.MustCompile(`\bOUTCRIER_[A-Z0-9_]+\b`)

// TestFiles_NameRealSettingsOnly: a variable that no command knows would be ignored.
func TestFiles_NameRealSettingsOnly(t *testing.T) {
	known := map[string]bool{"OUTCRIER_PG_BIN": true}
	for _, command := range []string{"serve", "health", "token", "tail", "migrate up"} {
		help, err := exec.Command(binary(t), append(strings.Fields(command), "--help")...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, help)
		}
		for _, name := range variable.FindAllString(string(help), -1) {
			known[name] = true
		}
	}
	files := []string{"../Dockerfile", "../docker-compose.yml"}
	for _, pattern := range []string{"compose/*", "kubernetes/*", "systemd/*", "proxies/Caddyfile", "proxies/*.c*", "proxies/*.vcl", "proxies/traefik/*.yaml", "helm/outcrier/*.yaml", "helm/outcrier/templates/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		files = append(files, found...)
	}
	named := 0
	for _, file := range files {
		for _, name := range variable.FindAllString(read(t, file), -1) {
			if named++; !known[name] {
				t.Errorf("%s names %s, which is no setting", file, name)
			}
		}
	}
	if named < 10 {
		t.Errorf("only %d variables were found", named)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func missing(all []string, want ...string) (none []string) {
	for _, w := range want {
		if !slices.Contains(all, w) {
			none = append(none, w)
		}
	}
	return none
}
