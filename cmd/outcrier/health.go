package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// healthConfig is the settings of "outcrier health". Listen, TLSCert and
// AutocertHosts are those that the server was started with.
type healthConfig struct {
	URL           string        `name:"url" secret:"true" help:"the server, like http://127.0.0.1:8080; by default the one on this machine that the next settings describe"`
	Listen        string        `name:"listen" default:"127.0.0.1:8080" help:"the address that the server listens on"`
	TLSCert       string        `name:"tls-cert" help:"the certificate of the server, if it speaks TLS; on this machine it is not verified"`
	AutocertHosts []string      `name:"autocert-host" help:"the names that the server gets certificates for, if it gets them by itself"`
	Alive         bool          `scope:"health" name:"alive" help:"ask whether the process answers, not whether it is ready for streams"`
	Timeout       time.Duration `scope:"health" name:"timeout" default:"4s" allow:"100ms..1m" help:"how long to wait for an answer"`
	LogSettings
}

func (healthConfig) Help() string {
	return `Asks /readyz of a server, or /healthz with --alive, and fails unless the answer is
yes. It is for health checks where there is no curl: beside the server, and with its
environment, it needs no settings.`
}

func (c *healthConfig) check(r *report) {
	if c.URL != "" {
		if notServer(c.URL) {
			r.reject("url", "want http://host:port or https://host:port")
		}
		return
	}
	if problem := notAddress(c.Listen); problem != "" {
		r.reject("listen", "%s", problem)
	}
}

// local returns the URL of the server on this machine: on loopback, if it listens on all
// addresses.
func (c healthConfig) local() string {
	host, port, _ := net.SplitHostPort(c.Listen) // as check has found
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http://"
	if c.TLSCert != "" || len(c.AutocertHosts) > 0 {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port)
}

func (c healthConfig) Run(ctx context.Context, p process) error {
	base, transport := c.URL, &http.Transport{Proxy: http.ProxyFromEnvironment}
	if base == "" {
		// Its certificate is for its name in public.
		base, transport = c.local(), &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // nothing is sent
		if len(c.AutocertHosts) > 0 {
			transport.TLSClientConfig.ServerName = c.AutocertHosts[0] // it has one for no other name
		}
	}
	path := "readyz"
	if c.Alive {
		path = "healthz"
	}
	target, err := url.JoinPath(base, path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("ask whether the server is ready: %w", err)
	}
	defer response.Body.Close()
	var answer struct{ Reason, Detail string }
	_ = json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&answer) // a proxy may answer with anything
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready, %s: %s%s", response.Status, answer.Reason, answer.Detail)
	}
	_, err = fmt.Fprintln(p.stdout, "ok")
	return err
}
