package helm

import (
	"slices"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestChart_Lints(t *testing.T) {
	for name, values := range valueSets(t) {
		for _, message := range lint.AllWithKubeVersion(chartDir, values, "events", &chartutil.KubeVersion{Version: "v1.32.0", Major: "1", Minor: "32"}).Messages {
			if message.Severity > support.InfoSev {
				t.Errorf("%s: %v", name, message)
			}
		}
	}
}

// TestChart_FitsTogether holds for every set of values.
func TestChart_FitsTogether(t *testing.T) {
	for name, values := range valueSets(t) {
		t.Run(name, func(t *testing.T) {
			r, err := render(values)
			if err != nil {
				t.Fatal(err)
			}
			pod := r.deployment.Spec.Template
			selects := func(what string, by *meta.LabelSelector, of map[string]string) {
				t.Helper()
				selector, err := meta.LabelSelectorAsSelector(by)
				if err != nil || selector.Empty() || !selector.Matches(labels.Set(of)) {
					t.Errorf("%s selects %v, which is not in %v: %v", what, selector, of, err)
				}
			}
			selects("the Deployment", r.deployment.Spec.Selector, pod.Labels)
			if r.budget != nil {
				selects("the budget", r.budget.Spec.Selector, pod.Labels)
			}
			ports := map[string]bool{}
			for _, port := range pod.Spec.Containers[0].Ports {
				ports[port.Name] = true
			}
			services := map[string]*core.Service{}
			for _, service := range r.services {
				services[service.Name] = service
				selects("the Service "+service.Name, &meta.LabelSelector{MatchLabels: service.Spec.Selector}, pod.Labels)
				for _, port := range service.Spec.Ports {
					if !ports[port.TargetPort.StrVal] {
						t.Errorf("%s leads to port %q, the Pods have %v", service.Name, port.TargetPort.StrVal, ports)
					}
				}
				if r.job != nil && labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(r.job.Spec.Template.Labels)) {
					t.Errorf("%s selects the Job", service.Name)
				}
			}
			for _, networks := range r.policies {
				of := pod.Labels
				if strings.HasSuffix(networks.Name, "-migrate") {
					of = r.job.Spec.Template.Labels
				}
				selects("the policy "+networks.Name, &networks.Spec.PodSelector, of)
				for _, rule := range networks.Spec.Ingress {
					if len(rule.Ports) != 1 || !ports[rule.Ports[0].Port.StrVal] {
						t.Errorf("%s lets in to %v, the Pods have %v", networks.Name, rule.Ports, ports)
					}
				}
			}
			if r.monitor != nil {
				metrics := services["outcrier-metrics"]
				selects("the ServiceMonitor", &r.monitor.Spec.Selector, metrics.Labels)
				if r.monitor.Spec.Endpoints[0].Port != metrics.Spec.Ports[0].Name || metrics.Labels[r.monitor.Spec.JobLabel] != "outcrier" {
					t.Errorf("it reads port %s, as job %q", r.monitor.Spec.Endpoints[0].Port, metrics.Labels[r.monitor.Spec.JobLabel])
				}
			}
			if r.ingress != nil {
				for _, rule := range r.ingress.Spec.Rules {
					to := rule.HTTP.Paths[0].Backend.Service
					if service := services[to.Name]; service == nil || service.Spec.Ports[0].Name != to.Port.Name {
						t.Errorf("%s leads to %v", rule.Host, to)
					}
				}
			}
			node(t, pod.Spec)
			locked(t, pod.Spec)
			if r.job != nil {
				locked(t, r.job.Spec.Template.Spec)
			}
		})
	}
}

// node checks probes, the time to end, and the memory limit that Go gets.
func node(t *testing.T, pod core.PodSpec) {
	t.Helper()
	container := pod.Containers[0]
	env := environment(t, container)
	if container.LivenessProbe.HTTPGet.Path != "/healthz" || container.ReadinessProbe.HTTPGet.Path != "/readyz" ||
		container.LivenessProbe.HTTPGet.Port.StrVal != "http" || container.ReadinessProbe.HTTPGet.Port.StrVal != "http" {
		t.Error("the probes ask for something else")
	}
	if container.Ports[0].ContainerPort != 8080 || env["OUTCRIER_LISTEN"].Value != ":8080" {
		t.Errorf("the node listens on %s, its port is %d", env["OUTCRIER_LISTEN"].Value, container.Ports[0].ContainerPort)
	}
	delay, err := time.ParseDuration(env["OUTCRIER_DRAIN_DELAY"].Value)
	if err != nil {
		t.Error(err)
	}
	drain, err := time.ParseDuration(env["OUTCRIER_DRAIN"].Value)
	if err != nil {
		t.Error(err)
	}
	grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
	if grace < delay+drain+5*time.Second {
		t.Errorf("a node has %v to end; its delay takes %v, its drain %v", grace, delay, drain)
	}
	// While it waits and drains it must not be killed for being dead, nor be sent new streams.
	ready := time.Duration(container.ReadinessProbe.PeriodSeconds*container.ReadinessProbe.FailureThreshold) * time.Second
	if delay < ready {
		t.Errorf("a node that ends is given streams for %v, and serves for %v", ready, delay)
	}
	limit, told := container.Resources.Limits.Memory().Value(), env["GOMEMLIMIT"].Value
	var mib int64
	for _, digit := range strings.TrimSuffix(told, "MiB") {
		mib = mib*10 + int64(digit-'0')
	}
	if used := mib << 20 * 100 / limit; used < 85 || used > 92 {
		t.Errorf("Go is told %s, %d %% of the limit %d", told, used, limit)
	}
}

// environment is a container's variables, each of which is set once.
func environment(t *testing.T, container core.Container) map[string]core.EnvVar {
	t.Helper()
	env := map[string]core.EnvVar{}
	for _, variable := range container.Env {
		if _, twice := env[variable.Name]; twice {
			t.Errorf("%s sets %s twice", container.Name, variable.Name)
		}
		env[variable.Name] = variable
	}
	return env
}

// locked checks that a Pod may do no more than it needs, and that it mounts only
// volumes that exist.
func locked(t *testing.T, pod core.PodSpec) {
	t.Helper()
	if !*pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		t.Error("the Pod may be root, or call everything")
	}
	if *pod.AutomountServiceAccountToken || *pod.EnableServiceLinks {
		t.Error("the Pod has a token of the cluster, or the variables of its Services")
	}
	volumes := map[string]bool{}
	for _, volume := range pod.Volumes {
		volumes[volume.Name] = true
	}
	for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
		security := container.SecurityContext
		if *security.AllowPrivilegeEscalation || !*security.ReadOnlyRootFilesystem || !slices.Equal(security.Capabilities.Drop, []core.Capability{"ALL"}) {
			t.Errorf("%s may do more than it needs", container.Name)
		}
		for _, mount := range container.VolumeMounts {
			if !volumes[mount.Name] || !mount.ReadOnly {
				t.Errorf("%s mounts %s", container.Name, mount.Name)
			}
		}
		for name, variable := range environment(t, container) {
			if strings.HasSuffix(name, "_URL") && strings.Contains(variable.Value, "postgres") {
				t.Errorf("%s has a database URL in plain sight", container.Name)
			}
		}
	}
}

func TestChart_NodesNeverSeeTheOwner(t *testing.T) {
	r := rendered(t, "default-values.yaml")
	for _, variable := range r.deployment.Spec.Template.Spec.Containers[0].Env {
		if from := variable.ValueFrom; from != nil && from.SecretKeyRef != nil && from.SecretKeyRef.Name != "outcrier" {
			t.Errorf("%s is of the Secret %s", variable.Name, from.SecretKeyRef.Name)
		}
	}
	pod := r.job.Spec.Template.Spec
	var commands []string
	for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
		commands = append(commands, strings.Join(container.Args, " "))
		if ref := environment(t, container)["DATABASE_URL"].ValueFrom.SecretKeyRef; ref.Name != "outcrier-owner" {
			t.Errorf("the Job has the Secret %s", ref.Name)
		}
	}
	if !slices.Equal(commands, []string{"migrate up", "migrate roles"}) {
		t.Errorf("the Job runs %q", commands)
	}
	if hook := r.job.Annotations["helm.sh/hook"]; hook != "pre-install,pre-upgrade" {
		t.Errorf("the Job is a hook of %q", hook)
	}
}

func TestChart_EncryptsConnectionsToPostgres(t *testing.T) {
	for set, want := range map[string]map[string]string{
		"default-values.yaml": {"PGSSLMODE": "verify-full"},
		"ingress-values.yaml": {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/etc/outcrier/postgres-ca/ca.crt"},
		"least-values.yaml":   {"PGSSLMODE": "disable"},
	} {
		r := rendered(t, set)
		pods := []core.PodSpec{r.deployment.Spec.Template.Spec}
		if r.job != nil {
			pods = append(pods, r.job.Spec.Template.Spec)
		}
		for _, pod := range pods {
			for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
				env := environment(t, container)
				for _, name := range []string{"PGSSLMODE", "PGSSLROOTCERT"} {
					if env[name].Value != want[name] {
						t.Errorf("%s: %s has %s=%q, want %q", set, container.Name, name, env[name].Value, want[name])
					}
				}
				if want["PGSSLROOTCERT"] != "" && len(container.VolumeMounts) == 0 {
					t.Errorf("%s: %s does not mount the authority", set, container.Name)
				}
			}
		}
	}
}

func TestChart_IngressLetsStreamsThrough(t *testing.T) {
	annotations := rendered(t, "full-values.yaml").ingress.Annotations
	for name, want := range map[string]string{
		"proxy-buffering": "off", "proxy-http-version": "1.1",
		"proxy-read-timeout": "120", // its own value wins
	} {
		if got := annotations["nginx.ingress.kubernetes.io/"+name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if other := rendered(t, "ingress-values.yaml").ingress; len(other.Annotations) > 0 || *other.Spec.IngressClassName != "traefik" {
		t.Errorf("another controller's Ingress has %v", other.Annotations)
	}
}

func TestChart_CarriesTheAlerts(t *testing.T) {
	rules := rendered(t, "full-values.yaml").rules.Spec.Groups[0].Rules
	if want := strings.Count(read(t, "../prometheus/alerts.yml"), "- alert: "); len(rules) != want || want == 0 {
		t.Errorf("%d of %d alerts", len(rules), want)
	}
	for _, rule := range rules {
		if !strings.HasPrefix(rule.Annotations["runbook_url"], "https://") || rule.Annotations["summary"] == "" {
			t.Errorf("%s has annotations %v", rule.Alert, rule.Annotations)
		}
	}
}

func TestChart_PassesSettingsOn(t *testing.T) {
	r, err := render(parse(t, `
auth: {secret: s}
settings: {max-streams: 1000000, gzip: true, idle-turn: 5s}
`))
	if err != nil {
		t.Fatal(err)
	}
	env := environment(t, r.deployment.Spec.Template.Spec.Containers[0])
	for name, want := range map[string]string{"OUTCRIER_MAX_STREAMS": "1000000", "OUTCRIER_GZIP": "true", "OUTCRIER_IDLE_TURN": "5s"} {
		if env[name].Value != want {
			t.Errorf("%s is %q, want %q", name, env[name].Value, want)
		}
	}
}

func TestChart_RefusesValuesThatCannotWork(t *testing.T) {
	for values, want := range map[string]string{
		`{}`:                                                                               "set auth.jwksUrl",
		`{auth: {secret: s}, replica: 3}`:                                                  "replica",
		`{auth: {secret: s}, replicas: 0}`:                                                 "replicas",
		`{auth: {jwksUrl: login.example.com}}`:                                             "jwksUrl",
		`{auth: {secret: s}, ingress: {enabled: true}}`:                                    "set ingress.hosts",
		`{auth: {secret: s}, ingress: {enabled: true, hosts: [a]}}`:                        "set trustProxies",
		`{auth: {secret: s}, database: {tls: {mode: prefer}}}`:                             "mode",
		`{auth: {secret: s}, database: {tls: {caSecret: a, caConfigMap: b}}}`:              "not both",
		`{auth: {secret: s}, settings: {drain: 5s}}`:                                       "drain",
		`{auth: {secret: s}, settings: {OUTCRIER_AUDIT: true}}`:                            "OUTCRIER_AUDIT",
		`{auth: {secret: s}, resources: {limits: {memory: 512M}}}`:                         "memory",
		`{auth: {secret: s}, metrics: {port: 8080}}`:                                       "port",
		`{auth: {secret: s}, metrics: {enabled: false, serviceMonitor: {enabled: true}}}`:  "metrics.enabled",
		`{auth: {secret: s}, networkPolicy: {egress: {enabled: true, databasePorts: []}}}`: "databasePorts",
		`{auth: {secret: s}, allowOrigins: ["https://app.example.com/"]}`:                  "allowOrigins",
		`{auth: {secret: s}, image: {digest: latest}}`:                                     "digest",
		`{auth: {secret: My Secret}}`:                                                      "/auth/secret",
		`{auth: {secret: s}, database: {secret: "a, b"}}`:                                  "/database/secret",
		`{auth: {secret: s}, database: {tls: {caSecret: a, caKey: my key}}}`:               "caKey",
		`{auth: {secret: s}, trustProxies: [proxy]}`:                                       "trustProxies",
		`{auth: {secret: s}, ingress: {enabled: true, hosts: ["[2001:db8::1]"]}}`:          "hosts",
		`{auth: {secret: s}, ingress: {enabled: true, hosts: [192.0.2.1]}}`:                "hosts",
		`{auth: {secret: s}, ingress: {enabled: true, hosts: [a], path: /a b}}`:            "path",
		`{auth: {secret: s}, autoscaling: {enabled: true}}`:                                "autoscaling",
	} {
		if _, err := render(parse(t, values)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", values, err, want)
		}
	}
}

// A name that YAML would read as a number or as true is a name all the same.
func TestChart_TakesNamesThatLookLikeSomethingElse(t *testing.T) {
	for _, values := range []string{
		`{auth: {secret: "123"}, database: {secret: "0x10", key: "1", directKey: "2"}, migrate: {secret: "007", key: "on"}}`,
		`{auth: {publicKeysSecret: "1"}, database: {tls: {caSecret: "true", caKey: "1", clientSecret: "2"}}}`,
		`{auth: {secret: my.secret-1}, database: {tls: {caConfigMap: "1"}}, serviceAccountName: "1", priorityClassName: "2"}`,
		`{auth: {secret: s}, trustProxies: ["2001:db8::/32"], ingress: {enabled: true, className: "1", tlsSecret: "2", hosts: ["*.example.com"], path: "/1"}}`,
		`{auth: {jwksUrl: "https://[2001:db8::1]:8443/jwks", issuer: "1", audience: "true"}, allowOrigins: ["https://[2001:db8::1]:8443"]}`,
		`{auth: {secret: s}, metrics: {enabled: false, rules: {enabled: true}}, podDisruptionBudget: {maxUnavailable: "50%"}}`,
	} {
		if _, err := render(parse(t, values)); err != nil {
			t.Errorf("%s: %v", values, err)
		}
	}
}

func TestChart_NotesSayWhatIsLeftToDo(t *testing.T) {
	notes := rendered(t, "least-values.yaml").notes
	for _, want := range []string{"not encrypted", "with one node", `run "outcrier migrate up"`, "GRANT outcrier_server TO"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
	if notes := rendered(t, "full-values.yaml").notes; strings.Contains(notes, "WARNING") || !strings.Contains(notes, "https://events.example.com/events") {
		t.Errorf("the notes are\n%s", notes)
	}
}
