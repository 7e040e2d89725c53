package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
)

// startNginx starts an nginx before a site and the server of its events, with
// directives for these, and returns its address. It ends with the test.
func startNginx(t *testing.T, site, events, directives string) string {
	t.Helper()
	program := testkit.Program(t, "nginx", "/usr/sbin/nginx")
	address := testkit.FreeAddress(t)
	dir := testkit.Folder(t)
	config := fmt.Sprintf(`
		daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/log; events {}
		http {
			access_log off;
			client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
			uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
			server {
				listen %[2]s;
				location / { proxy_pass %[3]s; }
				location /events { proxy_pass %[4]s; %[5]s }
			}
		}`, dir, address, site, events, directives)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "-c", file, "-p", dir)
	command.Stderr = t.Output()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		_ = command.Wait()
	})
	testkit.Eventually(t, "nginx listens", func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return "http://" + address
}

// proxyBuffers goes through a real nginx that buffers: one that the answer tells not
// to; one that ignores it, and passes chunks on all the same; and one that ignores it
// and speaks HTTP/1.0 to the server, which has no chunks.
func proxyBuffers(t *testing.T, s *stage) {
	for directives, via := range map[string]string{
		"proxy_http_version 1.1; proxy_buffering on;":                                         "stream",
		"proxy_http_version 1.1; proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;": "stream",
		"proxy_http_version 1.0; proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;": "poll",
	} {
		here := *s
		here.topic += fmt.Sprintf("-%d", len(directives)) + via
		here.site = &site{base: startNginx(t, s.site.base, s.server.base, directives)}
		in := here.page(t, map[string]string{"stream": "patience: 30_000", "poll": "patience: 500"}[via])
		isLive(t, in)
		if got := value[string](t, in, "stream.via"); got != via {
			t.Errorf("with %s events come by %s, want %s", directives, got, via)
		}
		if told := value[bool](t, in, "stream.told.some(([name, told]) => name === 'state' && told.via === 'poll')"); told != (via == "poll") {
			t.Errorf("with %s the page is told of the fallback: %t", directives, told)
		}
		here.add(t, "a", "b")
		until(t, in, "the page has two events", "stream.ids.length === 2")
		here.check(t, in, "a", "%", 0)
		here.leave(t, in)
	}
}
