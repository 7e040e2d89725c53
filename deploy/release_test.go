package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/outcrier/outcrier/internal/testkit"
)

// Every licence of what the binary is made of is with it, in archives, packages and image.
func TestRelease_HasTheNoticesOfWhatItIsMadeOf(t *testing.T) {
	command := testkit.Go("run", ".ci/notices.go")
	command.Dir = ".."
	var stderr strings.Builder
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if string(output) != read(t, "../THIRD_PARTY_NOTICES") {
		t.Error("THIRD_PARTY_NOTICES is of before: make notices")
	}
	modules := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(read(t, "../go.mod"), -1)
	for _, direct := range []string{"github.com/jackc/pgx/v5", "github.com/labstack/echo/v4", "github.com/coreos/go-oidc/v3", "github.com/golang-jwt/jwt/v5"} {
		if !strings.Contains(string(output), "\n"+direct+" v") || !slices.ContainsFunc(modules, func(m []string) bool { return m[1] == direct }) {
			t.Errorf("the notices lack %s", direct)
		}
	}
	config, image := read(t, "../.goreleaser.yaml"), read(t, "../Dockerfile")
	if strings.Count(config, "THIRD_PARTY_NOTICES") < 3 || strings.Count(image, "THIRD_PARTY_NOTICES") < strings.Count(image, "FROM scratch") {
		t.Error("archives, packages or the image go without them")
	}
}

// A release is signed, has its bill of materials, and is built only when no known
// vulnerability is called: a check that could not be made stops the release.
func TestRelease_IsSignedAndChecked(t *testing.T) {
	var release struct {
		Signs []struct {
			Artifacts, Signature, Cmd string
			Args                      []string
		}
		Sboms       []struct{ Artifacts string }
		DockerSigns []struct {
			Artifacts, Cmd string
			Args           []string
		} `yaml:"docker_signs"`
		Checksum struct {
			Name string `yaml:"name_template"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "../.goreleaser.yaml")), &release); err != nil {
		t.Fatal(err)
	}
	if len(release.Signs) != 1 || release.Signs[0].Artifacts != "checksum" || len(release.Sboms) != 1 || release.Sboms[0].Artifacts != "binary" {
		t.Fatalf("%+v", release)
	}
	bundle := strings.Replace(release.Signs[0].Signature, "${artifact}", release.Checksum.Name, 1)
	if args := strings.Join(release.Signs[0].Args, " "); !strings.Contains(args, "sign-blob") || !regexp.MustCompile(`cosign@v\d+\.\d+\.\d+ `).MatchString(args) || !strings.Contains(read(t, "../SECURITY.md"), "--bundle "+bundle+" ") {
		t.Errorf("signed by %q into %s", args, bundle)
	}
	if len(release.DockerSigns) != 1 || release.DockerSigns[0].Artifacts != "" {
		t.Fatalf("%+v", release.DockerSigns)
	}
	of := regexp.MustCompile(`cosign@v\S+`)
	if image, files := strings.Join(release.DockerSigns[0].Args, " "), strings.Join(release.Signs[0].Args, " "); !strings.HasSuffix(image, " sign --yes ${artifact}@${digest}") || of.FindString(image) != of.FindString(files) {
		t.Errorf("the image is signed by %q, files by %q", image, files)
	}
	workflow, ci := read(t, "../.github/workflows/release.yml"), read(t, "../.github/workflows/ci.yml")
	before, _, found := strings.Cut(workflow, "make release")
	if !found || !strings.Contains(before, "- run: make vuln\n") || !strings.Contains(before, "id-token: write") || !strings.Contains(before, "packages: write") || !strings.Contains(ci, "- run: make vuln\n") {
		t.Error("a release is drafted without looking for vulnerabilities, or can't be signed")
	}
	if strings.Contains(workflow+ci, "continue-on-error") || regexp.MustCompile(`(?m)^vuln:.*\n\t-|govulncheck.*\|\|`).MatchString(read(t, "../Makefile")) {
		t.Error("what is not checked passes")
	}
}

// TestRelease_PublishesTheImageThatTheChartNames: for two platforms, of the Dockerfile.
func TestRelease_PublishesTheImageThatTheChartNames(t *testing.T) {
	var release struct {
		Images []struct {
			Images, Tags, Platforms, Flags []string
			Dockerfile, SBOM               string
			Args                           map[string]string `yaml:"build_args"`
			Extra                          []string          `yaml:"extra_files"`
			Labels                         map[string]string
		} `yaml:"dockers_v2"`
	}
	var values struct{ Image struct{ Repository string } }
	var chart struct {
		AppVersion string `yaml:"appVersion"`
	}
	for file, into := range map[string]any{"../.goreleaser.yaml": &release, "helm/outcrier/values.yaml": &values, "helm/outcrier/Chart.yaml": &chart} {
		if err := yaml.Unmarshal([]byte(read(t, file)), into); err != nil {
			t.Fatal(err)
		}
	}
	if len(release.Images) != 1 {
		t.Fatalf("%+v", release)
	}
	image := release.Images[0]
	if !slices.Equal(image.Images, []string{values.Image.Repository}) || !slices.Equal(image.Tags, []string{"{{ .Version }}"}) || strings.HasPrefix(chart.AppVersion, "v") {
		t.Errorf("published is %q %q, the chart names %s:%s", image.Images, image.Tags, values.Image.Repository, chart.AppVersion)
	}
	if !slices.Equal(image.Platforms, []string{"linux/amd64", "linux/arm64"}) || image.Dockerfile != "" || image.SBOM != "true" || !strings.Contains(strings.Join(image.Flags, " "), "--provenance=mode=max") {
		t.Errorf("%+v", image)
	}
	stages := strings.Split(read(t, "../Dockerfile"), "\nFROM ")
	built := slices.IndexFunc(stages, func(stage string) bool {
		first, _, _ := strings.Cut(stage, "\n")
		return strings.HasSuffix(first, " AS "+image.Args["BINARY"])
	})
	if built < 0 || !strings.Contains(stages[built], "COPY $TARGETPLATFORM/outcrier /outcrier\n") {
		t.Fatalf("the Dockerfile has no stage %q that takes the binary", image.Args["BINARY"])
	}
	for _, file := range image.Extra {
		if copied := regexp.MustCompile(`(?m)^COPY .*\b` + file + `\b.* /src/$`); !copied.MatchString(stages[built]) {
			t.Errorf("%s does not get into the image", file)
		}
	}
	if len(image.Extra) != 2 || image.Labels["org.opencontainers.image.source"] != "https://github.com/outcrier/outcrier" {
		t.Errorf("%+v", image)
	}
}

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
