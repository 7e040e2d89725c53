package deploy

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// object is what is looked at of the manifests.
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
	Grace      int    `yaml:"terminationGracePeriodSeconds"`
	Restart    string `yaml:"restartPolicy"`
	Containers []struct {
		Args  []string
		Ports []struct {
			Name          string
			ContainerPort int `yaml:"containerPort"`
		}
		Env []struct {
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
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

func manifest(t *testing.T, name string) (o object) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, "kubernetes/"+name+".yaml")), &o); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return o
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
	match("the Service", service.Spec.Selector)
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
	secret := manifest(t, "secret")
	drains, before := drain, time.Duration(0)
	for _, env := range append(node.Env, job.Spec.Containers[0].Env...) {
		if ref := env.ValueFrom.SecretKeyRef; ref.Name != "" && !ref.Optional && (ref.Name != secret.Metadata.Name || secret.StringData[ref.Key] == "") {
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
	if args := strings.Join(job.Spec.Containers[0].Args, " "); args != "migrate up" || job.Spec.Restart != "OnFailure" {
		t.Errorf("the Job runs %s, restarted %s", args, job.Spec.Restart)
	}
}
