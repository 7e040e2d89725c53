package proxies

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
)

func TestMain(m *testing.M) {
	testkit.SideBySide(6)
	m.Run()
}

// proxy is one of the configurations, and how to run it.
type proxy struct {
	file string
	// others are the files that the configuration refers to, each at its path in the folder
	// of file.
	others []string
	// edit replaces what belongs to one machine, in pairs of old and new text. The
	// proxy is to listen at address, and dir is a folder with both.crt, both.key and
	// both.pem. The nodes' addresses are replaced without it.
	edit func(address, dir string) []string
	// command runs the program in the foreground on the configuration at path.
	command func(path, address, dir string) []string
	// plain says that the proxy leaves TLS, and so HTTP/2, to another one.
	plain bool
	// endsCrashes says that the proxy has a stream that breaks off look like one that has
	// ended: this version of Caddy all, this one of HAProxy those of HTTP/2.
	endsCrashes bool
	// refuses says that over HTTP/2 the proxy refuses a request when its node breaks off before it
	// answers (REFUSED_STREAM). The client asks again by itself.
	refuses bool
}

var proxies = []proxy{nginx, haproxy, caddy, apache, varnish}

// Debian has no Traefik, and to build it takes longer than all tests: where it is installed,
// OUTCRIER_TRAEFIK is its path.
func init() {
	if os.Getenv("OUTCRIER_TRAEFIK") != "" {
		proxies = append(proxies, traefik)
	}
}

var nginx = proxy{
	file: "nginx.conf",
	edit: func(address, dir string) []string {
		return []string{
			"listen 443", "listen " + address,
			"/etc/ssl/outcrier.crt", dir + "/both.crt",
			"/etc/ssl/outcrier.key", dir + "/both.key",
			"http {", "http {\naccess_log off; client_body_temp_path " + dir + "/1; proxy_temp_path " + dir + "/2; fastcgi_temp_path " + dir +
				"/3; uwsgi_temp_path " + dir + "/4; scgi_temp_path " + dir + "/5;",
			"worker_connections 32768", "worker_connections 512", // as many as an account may open
			"worker_rlimit_nofile 65536;", "",
		}
	},
	command: func(path, _, dir string) []string {
		return []string{"nginx", "-e", "stderr", "-c", path, "-p", dir, "-g", "daemon off; pid " + dir + "/pid;"}
	},
}

var caddy = proxy{
	file:        "Caddyfile",
	endsCrashes: true,
	edit: func(address, dir string) []string {
		return []string{
			"grace_period 10s", "grace_period 10s\nadmin off\nauto_https disable_redirects",
			"events.example.com {", "https://" + address + " {\ntls " + dir + "/both.crt " + dir + "/both.key",
		}
	},
	command: func(path, _, _ string) []string {
		return []string{"caddy", "run", "--adapter", "caddyfile", "--config", path}
	},
}

var haproxy = proxy{
	file:        "haproxy.cfg",
	endsCrashes: true,
	refuses:     true,
	edit: func(address, dir string) []string {
		return []string{
			"bind :443", "bind " + address,
			"/etc/haproxy/outcrier.pem", dir + "/both.pem",
			"maxconn 50000", "maxconn 400", // as many as an account may open
		}
	},
	command: func(path, _, _ string) []string { return []string{"haproxy", "-db", "-f", path} },
}

var apache = proxy{
	file:   "httpd.conf",
	others: []string{"outcrier.asis"},
	edit: func(address, dir string) []string {
		return []string{
			"Listen 443", "Listen " + address,
			"*:443", address,
			"/etc/ssl/outcrier.crt", dir + "/both.crt",
			"/etc/ssl/outcrier.key", dir + "/both.key",
			"PidFile /run/apache2/outcrier.pid", "PidFile " + dir + "/pid\nDefaultRuntimeDir " + dir,
			"/var/log/apache2/outcrier.log", dir + "/log",
			"/etc/apache2/", dir + "/",
			"ServerLimit 64", "ServerLimit 4",
			"MaxRequestWorkers 4096", "MaxRequestWorkers 256",
			"H2MaxWorkers 4096", "H2MaxWorkers 256",
		}
	},
	command: func(path, _, dir string) []string {
		return []string{"apache2", "-D", "FOREGROUND", "-d", dir, "-f", path}
	},
}

var varnish = proxy{
	file:  "varnish.vcl",
	plain: true,
	edit:  func(string, string) []string { return nil },
	command: func(path, address, dir string) []string {
		return []string{"varnishd", "-F", "-a", address, "-f", path, "-n", dir + "/varnish", "-s", "malloc,16m",
			"-p", "cc_command=exec gcc -fpic -shared -o %o %s", // quickly, not well
			"-p", "http_req_hdr_len=32k", "-p", "http_req_size=128k", "-p", "workspace_client=256k", "-p", "workspace_backend=256k"}
	},
}

var traefik = proxy{
	file:   "traefik/traefik.yaml",
	others: []string{"traefik/outcrier.yaml", "traefik/plugins-local/src/away/away.go", "traefik/plugins-local/src/away/.traefik.yml"},
	edit: func(address, dir string) []string {
		return []string{
			":443", address,
			"/etc/traefik/", dir + "/traefik/",
			"/etc/ssl/outcrier.crt", dir + "/both.crt",
			"/etc/ssl/outcrier.key", dir + "/both.key",
		}
	},
	command: func(path, _, _ string) []string {
		return []string{os.Getenv("OUTCRIER_TRAEFIK"), "--configFile=" + path}
	},
}

// start runs the proxy in front of two nodes, which may be one, without rights, and
// returns its address. more is edited besides.
func (p proxy) start(t *testing.T, nodes [2]string, more ...string) string {
	t.Helper()
	dir, address := folder(t), testkit.FreeAddress(t)
	edits := append(p.edit(address, dir), more...)
	for i, node := range nodes {
		before, after := fmt.Sprintf("127.0.0.1:%d", 8080+i), node
		if p.file == varnish.file {
			_, port, _ := net.SplitHostPort(node)
			before, after = fmt.Sprintf(".port = \"%d\"", 8080+i), fmt.Sprintf(".port = %q", port)
		}
		edits = append(edits, before, after)
	}
	texts := map[string]string{}
	for _, name := range append([]string{p.file}, p.others...) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(content)
	}
	for i := 0; i < len(edits); i += 2 {
		found := false
		for name, text := range texts {
			found = found || strings.Contains(text, edits[i])
			texts[name] = strings.ReplaceAll(text, edits[i], edits[i+1])
		}
		if !found {
			t.Fatalf("%s has no %q", p.file, edits[i])
		}
	}
	for name, text := range texts {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, p.file)
	args := p.command(path, address, dir)
	name := testkit.Program(t, args[0])
	cmd := exec.Command(name, args[1:]...)
	cmd.Dir = filepath.Dir(path)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	log, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The group: the workers too.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("the end of what %s has said:\n%s", args[0], said[max(0, len(said)-2000):])
		}
	})
	testkit.Eventually(t, p.file+" listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if p.plain {
		return "http://" + address
	}
	return "https://" + address
}

// findsNode waits until the proxy has found a node that is ready.
func (p proxy) findsNode(t *testing.T, base string) {
	t.Helper()
	testkit.Eventually(t, p.file+" has found a node", func() bool { return status(base+"/readyz") == http.StatusOK })
}

const nobody = 65534

// folder belongs to the user nobody, and has a certificate.
func folder(t *testing.T) string {
	t.Helper()
	dir := testkit.Folder(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	for name, content := range map[string][]byte{"both.crt": crt, "both.key": secret, "both.pem": append(crt[:len(crt):len(crt)], secret...)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}
