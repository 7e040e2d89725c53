package helm

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

// chartDir is the chart.
const chartDir = "outcrier"

// strict decodes what Kubernetes and Prometheus Operator know, and refuses fields that they
// don't.
var strict = func() runtime.Decoder {
	if err := monitoring.AddToScheme(scheme.Scheme); err != nil {
		panic(err)
	}
	return serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
}()

// release is a rendered chart.
type release struct {
	deployment *apps.Deployment
	job        *batch.Job
	services   []*core.Service
	budget     *policy.PodDisruptionBudget
	ingress    *networking.Ingress
	policies   []*networking.NetworkPolicy
	monitor    *monitoring.ServiceMonitor
	rules      *monitoring.PrometheusRule
	notes      string
}

// render renders the chart as Helm does, checks the values against their schema, and decodes
// every object strictly.
func render(values map[string]any) (r release, err error) {
	chart, err := loader.Load(chartDir)
	if err != nil {
		return r, err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = chartutil.KubeVersion{Version: "v1.32.0", Major: "1", Minor: "32"}
	if !chartutil.IsCompatibleRange(chart.Metadata.KubeVersion, capabilities.KubeVersion.Version) {
		return r, fmt.Errorf("the chart is not for Kubernetes %s", capabilities.KubeVersion.Version)
	}
	options := chartutil.ReleaseOptions{Name: "outcrier", Namespace: "events", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, values, options, capabilities)
	if err != nil {
		return r, err
	}
	files, err := (&engine.Engine{Strict: true}).Render(chart, all)
	if err != nil {
		return r, err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, "NOTES.txt") {
			r.notes = files[name]
			continue
		}
		for _, text := range strings.Split("\n"+files[name], "\n---\n") {
			if strings.TrimSpace(text) == "" {
				continue
			}
			object, _, err := strict.Decode([]byte(text), nil, nil)
			if err != nil {
				return r, fmt.Errorf("%s: %w\n%s", name, err, text)
			}
			if err := r.add(object); err != nil {
				return r, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return r, nil
}

func (r *release) add(object runtime.Object) error {
	switch o := object.(type) {
	case *apps.Deployment:
		r.deployment = o
	case *batch.Job:
		r.job = o
	case *core.Service:
		r.services = append(r.services, o)
	case *policy.PodDisruptionBudget:
		r.budget = o
	case *networking.Ingress:
		r.ingress = o
	case *networking.NetworkPolicy:
		r.policies = append(r.policies, o)
	case *monitoring.ServiceMonitor:
		r.monitor = o
	case *monitoring.PrometheusRule:
		r.rules = o
	default:
		return fmt.Errorf("a %T is not looked at", object)
	}
	return nil
}

// valueSets are the values in outcrier/ci, which "helm lint" and "helm template" take
// too.
func valueSets(t *testing.T) map[string]map[string]any {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(chartDir, "ci", "*-values.yaml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("found %q: %v", files, err)
	}
	sets := map[string]map[string]any{}
	for _, file := range files {
		sets[filepath.Base(file)] = parse(t, read(t, file))
	}
	return sets
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	values, err := chartutil.ReadValues([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// rendered renders with the values of a file in outcrier/ci.
func rendered(t *testing.T, set string) release {
	t.Helper()
	r, err := render(valueSets(t)[set])
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
