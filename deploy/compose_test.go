package deploy

import (
	"context"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.yaml.in/yaml/v3"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// compose is the checked part of docker-compose.yml; an unknown key is a mistake.
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
	Image, Restart  string
	Build           any
	Command         []string
	Environment     map[string]string
	Ports, Volumes  []string
	ReadOnly        bool                 `yaml:"read_only"`
	CapDrop         []string             `yaml:"cap_drop"`
	SecurityOpt     []string             `yaml:"security_opt"`
	StopGracePeriod string               `yaml:"stop_grace_period"`
	NetworkMode     string               `yaml:"network_mode"`
	DependsOn       map[string]condition `yaml:"depends_on"`
	Healthcheck     struct {
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
	if none := missing(names, "postgres", "migrate", "roles", "node1", "node2", "nginx", "demo", "demo-nginx"); none != nil {
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
		if s.Build != nil && (!s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.SecurityOpt) != 1) {
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

// login is who a service is in Postgres.
func login(t *testing.T, s service) *url.URL {
	t.Helper()
	u, err := url.Parse(s.Environment["DATABASE_URL"])
	if err != nil || u.User == nil {
		t.Fatalf("%q: %v", s.Environment["DATABASE_URL"], err)
	}
	return u
}

// TestCompose_LoginsMayDoNoMoreThanTheyNeed makes the logins and has them do what the
// services do.
func TestCompose_LoginsMayDoNoMoreThanTheyNeed(t *testing.T) {
	c := parseCompose(t)
	for name, s := range c.Services {
		if s.Environment["DATABASE_URL"] == "" {
			continue
		}
		user, owners := login(t, s).User.Username(), name == "migrate" || name == "roles"
		if user == "postgres" || (user == "outbox_owner") != owners {
			t.Errorf("%s logs in as %s", name, user)
		}
	}
	if mounted := c.Services["postgres"].Volumes; !slices.Contains(mounted, "./deploy/compose/roles.sql:/docker-entrypoint-initdb.d/roles.sql:ro") {
		t.Errorf("Postgres runs none of %q", mounted)
	}

	// As the image does: the database, and in it the script.
	there := outboxtest.URL(t)
	admin, err := pgx.Connect(t.Context(), there)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	if _, err := admin.Exec(t.Context(), "CREATE DATABASE outcrier"); err != nil {
		t.Fatal(err)
	}
	as := func(user *url.Userinfo) string {
		u, err := url.Parse(there)
		if err != nil {
			t.Fatal(err)
		}
		if u.Path = "/outcrier"; user != nil {
			u.User = user
		}
		return u.String()
	}
	super, err := pgx.Connect(t.Context(), as(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(context.Background())
	if _, err := super.Exec(t.Context(), read(t, "compose/roles.sql")); err != nil {
		t.Fatal(err)
	}
	// Twice, as after an upgrade.
	for _, name := range []string{"migrate", "roles", "migrate", "roles"} {
		s := c.Services[name]
		cmd := exec.CommandContext(t.Context(), binary(t), s.Command...)
		cmd.Env = []string{"DATABASE_URL=" + as(login(t, s).User)}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	for _, name := range []string{"node1", "demo"} {
		s, listen := c.Services[name], testkit.FreeAddress(t)
		cmd := exec.Command(binary(t), "serve") // the image's
		if name == "demo" {
			cmd = exec.Command(testkit.PlainCommand(t, "examples/demo"))
		}
		if s.Command != nil {
			t.Errorf("%s has a command of its own: %q", name, s.Command)
		}
		for name, value := range s.Environment {
			switch name {
			case "DATABASE_URL":
				value = as(login(t, s).User)
			case "OUTCRIER_LISTEN":
				value = listen
			case "OUTCRIER_JWT_SECRET":
				value = strings.Repeat("s", 32)
			}
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		cmd.Stderr = t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		})
		testkit.Eventually(t, name+" is ready", func() bool {
			return exec.CommandContext(t.Context(), binary(t), "health", "--url", "http://"+listen).Run() == nil
		})
	}
	for _, test := range []struct {
		user, statement string
		may             bool
	}{
		{"shop", "INSERT INTO outbox (topic, type) VALUES ('user/42', 'compose.tested')", true},
		{"shop", "SELECT count(*) FROM outcrier.event", false},
		{"node", "SELECT outcrier.erase('user/**', 'test')", false},
		{"node", "CREATE TABLE public.something (n int)", false},
		{"demo", "SELECT outcrier.reset()", false},
		{"oncall", "SELECT count(*) FROM outcrier.history", true},
		{"oncall", "INSERT INTO outbox (topic, type) VALUES ('user/42', 'compose.tested')", false},
		{"outbox_owner", "CREATE ROLE anybody", false},
	} {
		password := strings.TrimPrefix(test.user, "outbox_")
		conn, err := pgx.Connect(t.Context(), as(url.UserPassword(test.user, password)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Exec(t.Context(), test.statement)
		if conn.Close(context.Background()); (err == nil) != test.may {
			t.Errorf("%s: %s: %v", test.user, test.statement, err)
		}
	}
}

// drain is --drain's default.
const drain = 5 * time.Second

func TestCompose_NginxTakesItsConfiguration(t *testing.T) {
	nginx := testkit.Program(t, "nginx")
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
