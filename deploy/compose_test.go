package deploy

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// compose is what is looked at of docker-compose.yml; what it does not know is a
// mistake.
type compose struct {
	Name     string
	Services map[string]service
	Volumes  map[string]any
	Networks map[string]struct {
		IPAM struct {
			Config []struct{ Subnet string }
		} `yaml:"ipam"`
	}
	Outcrier any `yaml:"x-outcrier"`
	Node     any `yaml:"x-node"`
}

type service struct {
	Image, Build, Restart string
	Command               []string
	Environment           map[string]string
	Ports, Volumes        []string
	ReadOnly              bool                 `yaml:"read_only"`
	CapDrop               []string             `yaml:"cap_drop"`
	SecurityOpt           []string             `yaml:"security_opt"`
	StopGracePeriod       string               `yaml:"stop_grace_period"`
	NetworkMode           string               `yaml:"network_mode"`
	DependsOn             map[string]condition `yaml:"depends_on"`
	Healthcheck           struct {
		Test, Interval string
		Retries        int
		Disable        bool
	}
	Ulimits map[string]int
}

type condition struct{ Condition string }

func parseCompose(t *testing.T) (c compose) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(read(t, "../docker-compose.yml")))
	decoder.KnownFields(true)
	if err := decoder.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompose_StartsInOrderAndOnLoopbackOnly(t *testing.T) {
	c := parseCompose(t)
	names := slices.Sorted(maps.Keys(c.Services))
	if none := missing(names, "postgres", "migrate", "node1", "node2", "nginx", "demo", "demo-nginx"); none != nil {
		t.Fatalf("missing are %q", none)
	}
	for name, s := range c.Services {
		for other, when := range s.DependsOn {
			first, ok := c.Services[other]
			switch {
			case !ok:
				t.Errorf("%s depends on %s, which is not there", name, other)
			case when.Condition == "service_completed_successfully" && first.Command == nil:
				t.Errorf("%s waits for %s to end, which serves", name, other)
			case when.Condition == "service_healthy" && first.Healthcheck.Disable:
				t.Errorf("%s waits for %s to be healthy, which is not checked", name, other)
			}
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s is published at %s", name, port)
			}
		}
		for _, volume := range s.Volumes {
			if from, _, _ := strings.Cut(volume, ":"); strings.HasPrefix(from, "./") {
				if _, err := os.Stat("../" + from); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if _, ok := c.Volumes[from]; !ok {
				t.Errorf("%s: there is no volume %s", name, from)
			}
		}
		if s.Build != "" && (!s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.SecurityOpt) != 1) {
			t.Errorf("%s may more than it needs", name)
		}
	}
	node := c.Services["node1"]
	if grace, err := time.ParseDuration(node.StopGracePeriod); err != nil || grace < drain+3*time.Second {
		t.Errorf("a node has %v to end, its drain takes %v", grace, drain)
	}
	if networks := c.Networks["default"].IPAM.Config; len(networks) != 1 || node.Environment["OUTCRIER_TRUST_PROXY"] != networks[0].Subnet {
		t.Errorf("nodes trust %s, and nginx is in %v", node.Environment["OUTCRIER_TRUST_PROXY"], networks)
	}
	if !strings.Contains(read(t, "compose/nginx.conf"), "server node1:8080 ") || node.Environment["OUTCRIER_LISTEN"] != ":8080" {
		t.Error("nginx and the nodes do not meet")
	}
}

// drain is --drain's default.
const drain = 5 * time.Second

func TestCompose_NginxTakesItsConfiguration(t *testing.T) {
	nginx := need(t, "nginx")
	for _, file := range []string{"compose/nginx.conf", "compose/demo.conf"} {
		// nginx looks up the names of nodes.
		config := strings.NewReplacer("node1:", "127.0.0.1:", "node2:", "127.0.0.2:").Replace(read(t, file))
		dir := t.TempDir()
		path := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(nginx, "-t", "-e", "stderr", "-c", path, "-p", dir, "-g", "pid "+dir+"/pid;").CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", file, err, out)
		}
		for _, line := range []string{"proxy_buffering off;", "proxy_http_version 1.1;", "proxy_read_timeout 60s;"} {
			if !strings.Contains(config, line) {
				t.Errorf("%s has no %q", file, line)
			}
		}
	}
}
