package deploy

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// object is the checked part of a manifest.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct {
		Name   string
		Labels map[string]string
	}
	StringData map[string]string `yaml:"stringData"`
	Resources  []string          // of kustomization.yaml
	Spec       struct {
		Replicas int
		Selector any
		Ports    []struct {
			Name       string
			TargetPort string `yaml:"targetPort"`
			Port       int
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     pod
		}
		MaxUnavailable int `yaml:"maxUnavailable"`
	}
}

type pod struct {
	Grace          int         `yaml:"terminationGracePeriodSeconds"`
	Restart        string      `yaml:"restartPolicy"`
	ServiceLinks   *bool       `yaml:"enableServiceLinks"`
	InitContainers []container `yaml:"initContainers"`
	Containers     []container
}

type container struct {
	Image string
	Args  []string
	Ports []containerPort
	Env   []struct {
		Name, Value string
		ValueFrom   struct {
			SecretKeyRef struct {
				Name, Key string
				Optional  bool
			} `yaml:"secretKeyRef"`
		} `yaml:"valueFrom"`
	}
	Liveness  probe `yaml:"livenessProbe"`
	Readiness probe `yaml:"readinessProbe"`
}

type containerPort struct {
	Name          string
	ContainerPort int `yaml:"containerPort"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// manifest is the first object of a file, and manifests are all.
func manifest(t *testing.T, name string) object {
	t.Helper()
	return manifests(t, name)[0]
}

func manifests(t *testing.T, name string) (all []object) {
	t.Helper()
	for decoder := yaml.NewDecoder(strings.NewReader(read(t, "kubernetes/"+name+".yaml"))); ; {
		var o object
		switch err := decoder.Decode(&o); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, o)
	}
}

func TestKubernetes_ManifestsFitEachOther(t *testing.T) {
	all := manifest(t, "kustomization")
	want := []string{"secret.yaml", "migrate.yaml", "deployment.yaml", "service.yaml", "disruption.yaml"}
	if !reflect.DeepEqual(all.Resources, want) {
		t.Errorf("resources are %q", all.Resources)
	}
	deployment, service, budget := manifest(t, "deployment"), manifest(t, "service"), manifest(t, "disruption")
	labels := deployment.Spec.Template.Metadata.Labels
	match := func(what string, selector any) {
		t.Helper()
		found, _ := selector.(map[string]any)
		if inner, ok := found["matchLabels"].(map[string]any); ok {
			found = inner
		}
		if len(found) == 0 {
			t.Errorf("%s selects nothing", what)
		}
		for name, value := range found {
			if labels[name] != value {
				t.Errorf("%s selects %s %v, pods have %q", what, name, value, labels[name])
			}
		}
	}
	match("the Deployment", deployment.Spec.Selector)
	for _, service := range manifests(t, "service") {
		match("the Service "+service.Metadata.Name, service.Spec.Selector)
		if to := service.Spec.Ports[0].TargetPort; !slices.ContainsFunc(deployment.Spec.Template.Spec.Containers[0].Ports, func(port containerPort) bool { return port.Name == to }) {
			t.Errorf("the Service %s leads to the port %s", service.Metadata.Name, to)
		}
	}
	match("the budget", budget.Spec.Selector)
	job := manifest(t, "migrate").Spec.Template
	if job.Metadata.Labels["app.kubernetes.io/component"] == labels["app.kubernetes.io/component"] {
		t.Error("the Service would select the Job")
	}
	if deployment.Spec.Replicas < 2 || budget.Spec.MaxUnavailable != 1 {
		t.Errorf("of %d nodes %d may be gone", deployment.Spec.Replicas, budget.Spec.MaxUnavailable)
	}

	node := deployment.Spec.Template.Spec.Containers[0]
	port := node.Ports[0]
	if service.Spec.Ports[0].TargetPort != port.Name || node.Liveness.HTTPGet.Port != port.Name || node.Readiness.HTTPGet.Port != port.Name {
		t.Errorf("the port is %s", port.Name)
	}
	if node.Liveness.HTTPGet.Path != "/healthz" || node.Readiness.HTTPGet.Path != "/readyz" {
		t.Error("the probes ask for something else")
	}
	secrets := map[string]object{}
	for _, secret := range manifests(t, "secret") {
		secrets[secret.Metadata.Name] = secret
	}
	for _, spec := range []pod{deployment.Spec.Template.Spec, job.Spec} {
		if spec.ServiceLinks == nil || *spec.ServiceLinks {
			t.Error("a Service called outcrier would be settings of the Pod")
		}
	}
	drains, before := drain, time.Duration(0)
	for _, env := range node.Env {
		if env.ValueFrom.SecretKeyRef.Name == "outcrier-owner" {
			t.Errorf("%s of the nodes is the owner's", env.Name)
		}
	}
	for _, env := range slices.Concat(node.Env, job.Spec.InitContainers[0].Env, job.Spec.Containers[0].Env) {
		if ref := env.ValueFrom.SecretKeyRef; ref.Name != "" && !ref.Optional && secrets[ref.Name].StringData[ref.Key] == "" {
			t.Errorf("%s is %s of %s, which is not there", env.Name, ref.Key, ref.Name)
		}
		for name, into := range map[string]*time.Duration{"OUTCRIER_DRAIN": &drains, "OUTCRIER_DRAIN_DELAY": &before} {
			if env.Name == name {
				var err error
				if *into, err = time.ParseDuration(env.Value); err != nil {
					t.Error(err)
				}
			}
		}
		if env.Name == "OUTCRIER_LISTEN" && env.Value != ":8080" || port.ContainerPort != 8080 {
			t.Errorf("it listens on %s, and the port is %d", env.Value, port.ContainerPort)
		}
	}
	grace := time.Duration(deployment.Spec.Template.Spec.Grace) * time.Second
	if before == 0 || grace < before+drains+3*time.Second {
		t.Errorf("a node has %v to end; its delay takes %v, its drain %v", grace, before, drains)
	}
	first, then := strings.Join(job.Spec.InitContainers[0].Args, " "), strings.Join(job.Spec.Containers[0].Args, " ")
	if first != "migrate up" || then != "migrate roles" || job.Spec.Restart != "OnFailure" {
		t.Errorf("the Job runs %s and %s, restarted %s", first, then, job.Spec.Restart)
	}
}
