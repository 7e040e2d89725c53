package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// authority is Pebble, the ACME server that Let's Encrypt tests clients with. It
// validates names at a port of this machine, wherever they are said to be.
type authority struct {
	*httptest.Server
	handler atomic.Pointer[http.Handler]
	orders  atomic.Int64
	roots   *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	a := &authority{roots: x509.NewCertPool()}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/order-plz") {
			a.orders.Add(1)
		}
		(*a.handler.Load()).ServeHTTP(w, r)
	}))
	// The server trusts whom the system trusts.
	system := http.DefaultTransport
	http.DefaultTransport = a.Client().Transport
	t.Cleanup(func() { http.DefaultTransport = system; a.Close() })
	return a
}

// validates sets where it looks for who asks: by TLS-ALPN-01 alone, at a port.
func (a *authority) validates(t *testing.T, port int) {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	logger := log.New(t.Output(), "", 0)
	address := freeAddress()
	resolver := must(challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{address}, Log: logger}))
	resolver.SetDefaultDNSIPv4("127.0.0.1")
	resolver.SetDefaultDNSIPv6("")
	go resolver.Run()
	t.Cleanup(resolver.Shutdown)
	store := db.NewMemoryStore()
	issuer := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "the default"}})
	surface := wfe.New(logger, store, va.New(logger, 1, port, false, address, store), issuer, []string{"pebble.letsencrypt.org"}, false, false, 0, 0)
	handler := surface.Handler()
	a.handler.Store(&handler)
	a.roots.AppendCertsFromPEM(issuer.GetRootCert(0).PEM())
}

// freeAddress is one for a server that takes an address only, by UDP and TCP: below
// the ports that the kernel gives to others in the meantime.
func freeAddress() string {
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		datagrams, err := net.ListenPacket("udp", address)
		if err != nil {
			continue
		}
		_ = datagrams.Close()
		streams, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		_ = streams.Close()
		return address
	}
}

// A whole issue: the first who asks for the name has the server get a certificate,
// prove by TLS-ALPN-01 on its own port that the name is its, and serve with it. It
// is kept for the next start; for other names nobody is asked.
func TestAutocert_ServesWithACertificateThatItGot(t *testing.T) {
	authority, cache := newAuthority(t), t.TempDir()
	s := serve(t, nil, "--jwt-secret", secret, "--autocert-host", "events.example.com", "--autocert-cache", cache, "--autocert-directory", authority.URL+"/dir")
	_, port, _ := net.SplitHostPort(s.address)
	authority.validates(t, must(strconv.Atoi(port)))

	dial := func(s *served, name string) (*tls.Conn, error) {
		dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute}, Config: &tls.Config{ServerName: name, RootCAs: authority.roots, NextProtos: []string{"h2", "http/1.1"}}}
		conn, err := dialer.DialContext(t.Context(), "tcp", s.address)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { conn.Close() })
		return conn.(*tls.Conn), nil
	}
	for _, name := range []string{"evil.example", "x.events.example.com"} {
		if _, err := dial(s, name); err == nil || authority.orders.Load() != 0 {
			t.Errorf("%s: %v, %d orders", name, err, authority.orders.Load())
		}
	}
	conn, err := dial(s, "events.example.com")
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log())
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != "h2" || len(state.VerifiedChains) == 0 || authority.orders.Load() != 1 {
		t.Errorf("%q, %d chains, %d orders", state.NegotiatedProtocol, len(state.VerifiedChains), authority.orders.Load())
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{ServerName: "events.example.com", RootCAs: authority.roots}}}
	response, err := client.Get("https://" + s.address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK || response.Header.Get("Strict-Transport-Security") != "" && strings.HasPrefix(s.address, "127.") {
		t.Errorf("%s, %v", response.Status, response.Header)
	}

	// Another start, with what was kept.
	again := serve(t, nil, "--jwt-secret", secret, "--autocert-host", "events.example.com", "--autocert-cache", cache, "--autocert-directory", authority.URL+"/dir")
	if _, err := dial(again, "events.example.com"); err != nil || authority.orders.Load() != 1 {
		t.Errorf("%v, %d orders", err, authority.orders.Load())
	}
	for _, file := range must(os.ReadDir(cache)) {
		if info := must(file.Info()); info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is of mode %s: it has a private key", file.Name(), info.Mode())
		}
	}
}
