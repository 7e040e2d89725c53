package proxies

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// proxy is one of the configurations, and how to run it.
type proxy struct {
	file string
	// edit replaces what is of the machine that it was written for: pairs of old
	// and new text. address is where to listen, node the server, dir a folder with
	// both.crt, both.key and both.pem.
	edit func(address, node, dir string) []string
	// command runs the program in the foreground on the configuration at path.
	command func(path, dir string) []string
}

var nginx = proxy{
	"nginx.conf",
	func(address, node, dir string) []string {
		return []string{
			"server 127.0.0.1:8080", "server " + node,
			"server 127.0.0.1:8081", "server " + node,
			"listen 443", "listen " + address,
			"/etc/ssl/outcrier.crt", dir + "/both.crt",
			"/etc/ssl/outcrier.key", dir + "/both.key",
			"http {", "http {\naccess_log off; client_body_temp_path " + dir + "/1; proxy_temp_path " + dir + "/2; fastcgi_temp_path " + dir +
				"/3; uwsgi_temp_path " + dir + "/4; scgi_temp_path " + dir + "/5;",
			"worker_connections 32768", "worker_connections 512", // as many as an account may open
			"worker_rlimit_nofile 65536;", "",
		}
	},
	func(path, dir string) []string {
		return []string{"nginx", "-e", "stderr", "-c", path, "-p", dir, "-g", "daemon off; pid " + dir + "/pid;"}
	},
}

var caddy = proxy{
	"Caddyfile",
	func(address, node, dir string) []string {
		return []string{
			"127.0.0.1:8080 127.0.0.1:8081", node,
			"grace_period 10s", "grace_period 10s\nadmin off\nauto_https disable_redirects",
			"events.example.com {", "https://" + address + " {\ntls " + dir + "/both.crt " + dir + "/both.key",
		}
	},
	func(path, _ string) []string {
		return []string{"caddy", "run", "--adapter", "caddyfile", "--config", path}
	},
}

var haproxy = proxy{
	"haproxy.cfg",
	func(address, node, dir string) []string {
		return []string{
			"server node1 127.0.0.1:8080", "server node1 " + node,
			"server node2 127.0.0.1:8081", "server node2 " + node,
			"bind :443", "bind " + address,
			"/etc/haproxy/outcrier.pem", dir + "/both.pem",
			"maxconn 50000", "maxconn 200", // as many as an account may open
		}
	},
	func(path, _ string) []string { return []string{"haproxy", "-db", "-f", path} },
}

// start runs the proxy in front of a node, without rights, and returns its
// address. more is edited besides.
func (p proxy) start(t *testing.T, node string, more ...string) string {
	t.Helper()
	content, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	dir, address := folder(t), free(t)
	config := string(content)
	edits := append(p.edit(address, node, dir), more...)
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(config, edits[i]) {
			t.Fatalf("%s has no %q", p.file, edits[i])
		}
		config = strings.ReplaceAll(config, edits[i], edits[i+1])
	}
	path := filepath.Join(dir, p.file)
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	args := p.command(path, dir)
	name := need(t, args[0])
	cmd := exec.Command(name, args[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
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
	})
	eventually(t, p.file+" listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return "https://" + address
}

const nobody = 65534

// need is the path of a program, which is in CI.
func need(t *testing.T, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(path); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set, but %s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// folder is one of nobody's, with a certificate.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "outcrier-proxy-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
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

// free is an address on loopback that was free just now.
func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
