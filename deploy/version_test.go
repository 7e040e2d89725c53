package deploy

import (
	"regexp"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A deployment by the chart, the plain manifests or compose gets the same image: that of one
// release, which is the one that the changelog and the chart name.
func TestDeployments_NameTheImageOfOneRelease(t *testing.T) {
	var chart struct {
		AppVersion string `yaml:"appVersion"`
	}
	var values struct {
		Image struct{ Repository, Tag string }
	}
	var release struct {
		Images []struct{ Images, Tags []string } `yaml:"dockers_v2"`
	}
	for file, into := range map[string]any{"helm/outcrier/Chart.yaml": &chart, "helm/outcrier/values.yaml": &values, "../.goreleaser.yaml": &release} {
		if err := yaml.Unmarshal([]byte(read(t, file)), into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	newest := regexp.MustCompile(`(?m)^## \[?(\d+\.\d+\.\d+)`).FindStringSubmatch(read(t, "../CHANGELOG.md"))
	if newest == nil || chart.AppVersion != newest[1] {
		t.Fatalf("the chart is of release %s, the changelog's newest is %v", chart.AppVersion, newest)
	}
	if len(release.Images) != 1 || !slices.Equal(release.Images[0].Images, []string{values.Image.Repository}) ||
		!slices.Equal(release.Images[0].Tags, []string{"{{ .Version }}"}) || values.Image.Tag != "" {
		t.Fatalf("releases publish %v, the chart pulls %+v", release.Images, values.Image)
	}
	want := values.Image.Repository + ":" + chart.AppVersion
	job := manifest(t, "migrate").Spec.Template.Spec
	images := map[string]string{
		"the Deployment": manifest(t, "deployment").Spec.Template.Spec.Containers[0].Image,
		"migrate up":     job.InitContainers[0].Image,
		"migrate roles":  job.Containers[0].Image,
	}
	services := parseCompose(t).Services
	for _, name := range []string{"migrate", "roles", "node1", "node2"} {
		images["compose: "+name] = services[name].Image
	}
	for _, found := range regexp.MustCompile(regexp.QuoteMeta(values.Image.Repository)+`:[\w.-]+`).FindAllString(read(t, "../SECURITY.md"), -1) {
		images["SECURITY.md: "+found] = found
	}
	for where, image := range images {
		if image != want {
			t.Errorf("%s is of %q, want %q", where, image, want)
		}
	}
}
