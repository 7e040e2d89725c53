package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
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
	t.Cleanup(a.Close)
	// The server trusts whom its system trusts.
	trusted := filepath.Join(t.TempDir(), "authority.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
	if err := os.WriteFile(trusted, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", trusted)
	return a
}

// validates sets where it looks for who asks: by TLS-ALPN-01 alone, at a port.
func (a *authority) validates(t *testing.T, port int) {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0") // an order that is refused by chance comes twice
	logger := log.New(t.Output(), "", 0)
	address := freeAddress()
	resolver, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{address}, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
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

// A certificate is issued: the first client that names the host has the server get one,
// prove by TLS-ALPN-01 on its own port that it owns the name, and serve with it. It is
// kept for the next start; no authority is asked for other names.
func TestAutocert_ServesWithACertificateThatItGot(t *testing.T) {
	authority, cache := newAuthority(t), t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	database := outboxtest.URL(t)
	start := func() *server {
		return startAs(t, "serve", "--dev", "--database-url", database, "--jwt-secret-file", secret,
			"--autocert-host", "events.example.com", "--autocert-cache", cache, "--autocert-directory", authority.URL+"/dir")
	}
	s := start()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.base, "https://"))
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatalf("%s: %v", s.base, err)
	}
	authority.validates(t, number)

	dial := func(s *server, name string) (*tls.Conn, error) {
		dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute}, Config: &tls.Config{ServerName: name, RootCAs: authority.roots, NextProtos: []string{"h2", "http/1.1"}}}
		conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.base, "https://"))
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
	// On a busy machine the server may give a handshake up before the authority has issued the
	// certificate. The next handshake waits for the same one.
	var conn *tls.Conn
	testkit.Eventually(t, "the server has a certificate", func() bool {
		conn, err = dial(s, "events.example.com")
		return err == nil
	})
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != "h2" || len(state.VerifiedChains) == 0 || authority.orders.Load() != 1 {
		t.Errorf("%q, %d chains, %d orders", state.NegotiatedProtocol, len(state.VerifiedChains), authority.orders.Load())
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{ServerName: "events.example.com", RootCAs: authority.roots}}}
	response, err := client.Get(s.base + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK || response.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("%s, %v", response.Status, response.Header)
	}

	// Another start, with the certificate that was kept.
	again := start()
	if _, err := dial(again, "events.example.com"); err != nil || authority.orders.Load() != 1 {
		t.Errorf("%v, %d orders", err, authority.orders.Load())
	}
	kept, err := os.ReadDir(cache)
	if err != nil || len(kept) == 0 {
		t.Fatalf("%d files are kept: %v", len(kept), err)
	}
	for _, file := range kept {
		if info, err := file.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is of mode %s: it has a private key (%v)", file.Name(), info.Mode(), err)
		}
	}
}
