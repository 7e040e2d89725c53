package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHealth_AsksTheServerOfItsOwnEnvironment(t *testing.T) {
	var asked string
	ready := true
	routes := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked = r.URL.Path; asked == "/readyz" && !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"ready":false,"reason":"the tail has not caught up yet"}`))
		}
	})
	plain, secure := httptest.NewServer(routes), httptest.NewTLSServer(routes)
	defer plain.Close()
	defer secure.Close()
	port := func(s *httptest.Server) string { return s.URL[strings.LastIndexByte(s.URL, ':'):] }
	certificate := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(certificate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args, environ []string
		ready         bool
		code          int
		path, says    string
	}{
		"all addresses":      {nil, []string{"OUTCRIER_LISTEN=" + port(plain)}, true, exitDone, "/readyz", "ok"},
		"all by IPv4":        {nil, []string{"OUTCRIER_LISTEN=0.0.0.0" + port(plain)}, true, exitDone, "/readyz", "ok"},
		"one address":        {nil, []string{"OUTCRIER_LISTEN=127.0.0.1" + port(plain)}, true, exitDone, "/readyz", "ok"},
		"TLS":                {nil, []string{"OUTCRIER_LISTEN=" + port(secure), "OUTCRIER_TLS_CERT=" + certificate}, true, exitDone, "/readyz", "ok"},
		"not ready":          {nil, []string{"OUTCRIER_LISTEN=" + port(plain)}, false, exitFailed, "/readyz", "the tail has not caught up yet"},
		"alive":              {[]string{"--alive"}, []string{"OUTCRIER_LISTEN=" + port(plain)}, false, exitDone, "/healthz", "ok"},
		"elsewhere":          {[]string{"--url", plain.URL}, nil, true, exitDone, "/readyz", "ok"},
		"elsewhere verified": {[]string{"--url", secure.URL}, nil, true, exitFailed, "", "certificate"},
		"nobody there":       {[]string{"--url", "http://127.0.0.1:1"}, nil, true, exitFailed, "", "refused"},
		"no address":         {[]string{"--listen", "8080"}, nil, true, exitMistake, "", "want host:port"},
	} {
		t.Run(name, func(t *testing.T) {
			asked, ready = "", test.ready
			var out strings.Builder
			code := run(t.Context(), append([]string{"health"}, test.args...), test.environ, strings.NewReader(""), &out, &out)
			if code != test.code || asked != test.path || !strings.Contains(out.String(), test.says) {
				t.Errorf("ends with %d, asked %q, and says %q", code, asked, out.String())
			}
		})
	}
}
