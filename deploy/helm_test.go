package deploy

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
)

// TestHelm_ChartPassesItsTests runs those of deploy/helm. They are in a module of their own,
// so that the libraries of Helm and Kubernetes are none of Outcrier's. make check vets them.
func TestHelm_ChartPassesItsTests(t *testing.T) {
	run := func(args ...string) (string, error) {
		cmd := testkit.Go(args...)
		cmd.Dir, cmd.Env = "helm", append(cmd.Env, "GOWORK=off")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("mod", "download"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set, but the modules can't be had: %v\n%s", err, out)
		}
		t.Skipf("the modules can't be had: %v\n%s", err, out)
	}
	if out, err := run("test", "-count=1", "-vet=off", "-ldflags=-s -w", "./..."); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestHelm_ValuesNameRealSettings: the chart passes settings on by the names of their flags.
func TestHelm_ValuesNameRealSettings(t *testing.T) {
	help, err := exec.CommandContext(t.Context(), binary(t), "serve", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, help)
	}
	named := 0
	for _, line := range regexp.MustCompile(`(?m)^settings: \{(.*)\}$`).FindAllStringSubmatch(read(t, "helm/outcrier/ci/full-values.yaml"), -1) {
		for _, name := range regexp.MustCompile(`([a-z-]+): `).FindAllStringSubmatch(line[1], -1) {
			if named++; !regexp.MustCompile("--" + name[1] + "[ =]").Match(help) {
				t.Errorf("serve has no --%s", name[1])
			}
		}
	}
	if named < 4 {
		t.Errorf("only %d settings were found", named)
	}
	// Those that the chart sets by itself are refused there, and so are real too.
	for _, name := range regexp.MustCompile(`OUTCRIER_([A-Z_]+), value`).FindAllStringSubmatch(read(t, "helm/outcrier/templates/deployment.yaml"), -1) {
		flag := strings.ToLower(strings.ReplaceAll(name[1], "_", "-"))
		if !strings.Contains(read(t, "helm/outcrier/values.schema.json"), `"`+flag+`"`) {
			t.Errorf("settings may say %s, which the chart sets too", flag)
		}
	}
}
