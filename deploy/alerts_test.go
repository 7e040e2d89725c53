package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/outcrier/outcrier/internal/testkit"
)

type alertRule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

// alertRules are those of prometheus/alerts.yml.
func alertRules(t *testing.T) []alertRule {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alertRule }
	}
	if err := yaml.Unmarshal([]byte(read(t, "prometheus/alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	rules := file.Groups[0].Rules
	if len(rules) < 10 {
		t.Fatalf("only %d rules", len(rules))
	}
	return rules
}

func TestAlerts_LeadToARunbook(t *testing.T) {
	const base = "https://github.com/outcrier/outcrier/blob/main/docs/operating.md#"
	var headings []string
	for _, line := range regexp.MustCompile(`(?m)^###? (.*)$`).FindAllStringSubmatch(read(t, "../docs/operating.md"), -1) {
		name := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(line[1]), "")
		headings = append(headings, strings.ReplaceAll(name, " ", "-"))
	}
	for _, rule := range alertRules(t) {
		anchor, ours := strings.CutPrefix(rule.Annotations["runbook_url"], base)
		if !ours || !slices.Contains(headings, anchor) {
			t.Errorf("%s leads to %q, and no heading is called so", rule.Alert, rule.Annotations["runbook_url"])
		}
	}
}

func TestAlerts_SeeThatNothingIsThere(t *testing.T) {
	absent := map[string]bool{}
	for _, rule := range alertRules(t) {
		if rule.Labels["kind"] == "absent" {
			absent[rule.Alert] = true
		}
	}
	for _, alert := range []string{"OutcrierDown", "OutcrierNotFollowing", "OutcrierPartitionsMissing"} {
		if !absent[alert] {
			t.Errorf("%s has no rule for metrics that are missing", alert)
		}
	}
}

// TestDashboard_IsRedWhenOneOfFiveNodesDoesNotFollow has Prometheus evaluate the first panel.
func TestDashboard_IsRedWhenOneOfFiveNodesDoesNotFollow(t *testing.T) {
	promtool := testkit.Program(t, "promtool")
	var dashboard struct {
		Panels []struct {
			Title       string
			Targets     []struct{ Expr string }
			FieldConfig struct {
				Defaults struct {
					Thresholds struct {
						Steps []struct {
							Color string
							Value *float64
						}
					}
					Mappings []struct {
						Options struct {
							Match  string
							Result struct{ Color string }
						}
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(read(t, "grafana/outcrier.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	panel := dashboard.Panels[0]
	defaults := panel.FieldConfig.Defaults
	color := func(value float64) (color string) {
		for _, step := range defaults.Thresholds.Steps {
			if step.Value == nil || value >= *step.Value {
				color = step.Color
			}
		}
		return color
	}
	if panel.Title != "Nodes that don't follow" || color(0) != "green" || color(1) != "red" {
		t.Errorf("%s: 0 is %s, 1 is %s", panel.Title, color(0), color(1))
	}
	if len(defaults.Mappings) != 1 || defaults.Mappings[0].Options.Match != "null" || defaults.Mappings[0].Options.Result.Color != "red" {
		t.Errorf("without nodes it is %+v", defaults.Mappings)
	}
	expr := strings.NewReplacer("$job", "outcrier", "$instance", ".*").Replace(panel.Targets[0].Expr)
	// Five nodes, by their scraped metrics: "1" follows, "0" does not, "_" is down.
	file := &strings.Builder{}
	fmt.Fprintln(file, "tests:")
	for nodes, want := range map[string]string{"11111": "0", "11011": "1", "1111_": "1", "0000_": "5", "": ""} {
		fmt.Fprint(file, "  - interval: 1m\n    input_series:\n      - {series: 'up{job=\"other\"}', values: '1x5'}\n")
		for i, state := range nodes {
			up, value := '1', state
			if state == '_' {
				up = '0'
			}
			fmt.Fprintf(file, "      - {series: 'up{job=\"outcrier\",instance=\"%d\"}', values: '%cx5'}\n", i, up)
			fmt.Fprintf(file, "      - {series: 'outcrier_tail_state{job=\"outcrier\",instance=\"%d\",state=\"following\"}', values: '%cx5'}\n", i, value)
		}
		samples := "[]"
		if want != "" {
			samples = "[{labels: '{}', value: " + want + "}]"
		}
		fmt.Fprintf(file, "    promql_expr_test:\n      - expr: '%s'\n        eval_time: 3m\n        exp_samples: %s\n", strings.ReplaceAll(expr, "'", "''"), samples)
	}
	path := filepath.Join(t.TempDir(), "dashboard_test.yml")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, file)
	}
}
