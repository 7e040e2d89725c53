package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestRelease_IsBuiltAsTheImageIsAndOfFilesThatExist: goreleaser itself checks the
// rest, by goreleaser check.
func TestRelease_IsBuiltAsTheImageIsAndOfFilesThatExist(t *testing.T) {
	var release struct {
		Version int
		Builds  []struct {
			Main                string
			Env, Flags, Ldflags []string
			Goos, Goarch        []string
			ModTimestamp        string `yaml:"mod_timestamp"`
		}
		Archives []struct{ Formats, Files []string }
		NFPMs    []struct {
			License  string
			Formats  []string
			Contents []struct{ Src, Dst string }
		} `yaml:"nfpms"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "../.goreleaser.yaml")), &release); err != nil {
		t.Fatal(err)
	}
	if release.Version != 2 || len(release.Builds) != 1 || len(release.Archives) != 1 || len(release.NFPMs) != 1 {
		t.Fatalf("%+v", release)
	}
	build := release.Builds[0]
	for _, flag := range slices.Concat(build.Env, build.Flags, build.Ldflags, []string{build.Main}) {
		if !strings.Contains(read(t, "../Dockerfile"), flag) {
			t.Errorf("the image is built without %q", flag)
		}
	}
	if !slices.Contains(build.Goos, "linux") || !slices.Contains(build.Goarch, "arm64") {
		t.Errorf("built for %q on %q", build.Goos, build.Goarch)
	}
	files := release.Archives[0].Files
	for _, content := range release.NFPMs[0].Contents {
		files = append(files, content.Src)
	}
	for _, file := range files {
		found, err := filepath.Glob("../" + strings.TrimSuffix(file, "/**/*"))
		if err != nil || len(found) == 0 {
			t.Errorf("there is no %s", file)
		}
	}
	if _, err := os.Stat("../LICENSE"); err != nil || release.NFPMs[0].License != "Apache-2.0" {
		t.Errorf("the licence is %s: %v", release.NFPMs[0].License, err)
	}
}
