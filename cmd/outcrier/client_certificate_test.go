package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// clientAuthority issues certificates of clients.
type clientAuthority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newClientAuthority(t *testing.T) clientAuthority {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return clientAuthority{must(x509.ParseCertificate(der)), key}
}

func (a clientAuthority) write(t *testing.T, file string) {
	t.Helper()
	writeFile(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})))
}

// issue makes a certificate for a client.
func (a clientAuthority) issue(change func(*x509.Certificate)) tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	change(template)
	return tls.Certificate{Certificate: [][]byte{must(x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key))}, PrivateKey: key}
}

func named(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject.CommonName = name }
}

// asked is the status of a request over TLS, 0 if there was no answer, and its body.
func asked(t *testing.T, address, path string, certificate *tls.Certificate, headers ...string) (int, string) {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	request := must(http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+path, nil))
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Errorf("%s by %s", path, response.Proto)
	}
	return response.StatusCode, string(must(io.ReadAll(response.Body)))
}

// A service is known by its certificate, and by nothing that it says: no other authority's,
// none that has expired, no name that is merely alike.
func TestServe_ClientCertificatesGiveServicesTheirIdentity(t *testing.T) {
	dir := t.TempDir()
	cert, key, ca, identities := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "identities.json")
	writeCertificate(t, cert, key, "one.example.com")
	trusted, other := newClientAuthority(t), newClientAuthority(t)
	trusted.write(t, ca)
	const entries = `{
		"cn:prometheus": {"outcrier": {"admin": ["metrics"]}},
		"uri:spiffe://example.com/reader": {"sub": "reader", "outcrier": {"subscribe": ["a"]}},
		"dns:reader.example.com": {"outcrier": {"subscribe": ["**"]}}
	}`
	writeFile(t, identities, entries)
	database := outboxtest.URL(t)
	environ := []string{"OUTCRIER_JWT_SECRET=" + secret}
	s := serve(t, environ, "--database-url", database, "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca, "--tls-client-identities", identities)

	prometheus := trusted.issue(named("prometheus"))
	spiffe := must(url.Parse("spiffe://example.com/reader"))
	reader := trusted.issue(func(c *x509.Certificate) { c.URIs = []*url.URL{spiffe} })
	if status, body := asked(t, s.address, "/metrics", &prometheus); status != 200 || !strings.Contains(body, "outcrier_build_info") {
		t.Errorf("metrics: %d %s", status, body)
	}
	if status, body := asked(t, s.address, "/admin/api/overview", &prometheus); status != 403 || !strings.Contains(body, `"grants":["read"]`) {
		t.Errorf("the overview: %d %s", status, body)
	}
	const poll = "/events?topic=a&wait=0"
	if status, body := asked(t, s.address, poll, &reader, "Accept", "application/json"); status != 200 {
		t.Errorf("reader: %d %s", status, body)
	}
	// Browsers send certificates by themselves, for pages of other sites too.
	if status, body := asked(t, s.address, poll, &reader, "Accept", "application/json", "Sec-Fetch-Site", "cross-site"); status != 403 {
		t.Errorf("for a page of another site: %d %s", status, body)
	}
	for name, certificate := range map[string]*tls.Certificate{
		"none":                 nil,
		"of another authority": ptr(other.issue(named("prometheus"))),
		"expired":              ptr(trusted.issue(func(c *x509.Certificate) { named("prometheus")(c); c.NotAfter = time.Now().Add(-time.Second) })),
		"for servers": ptr(trusted.issue(func(c *x509.Certificate) {
			named("prometheus")(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})),
	} {
		if status, body := asked(t, s.address, "/metrics", certificate); status != 0 {
			t.Errorf("a certificate %s: %d %s", name, status, body)
		}
	}
	for name, certificate := range map[string]tls.Certificate{
		"in other letters":  trusted.issue(named("Prometheus")),
		"as another kind":   trusted.issue(func(c *x509.Certificate) { c.DNSNames = []string{"prometheus"} }),
		"of two identities": trusted.issue(func(c *x509.Certificate) { named("prometheus")(c); c.URIs = []*url.URL{spiffe} }),
		"without a name":    trusted.issue(func(*x509.Certificate) {}),
		"with a prefix":     trusted.issue(named("cn:prometheus")),
	} {
		if status, body := asked(t, s.address, "/metrics", &certificate); status != 403 {
			t.Errorf("a name %s: %d %s", name, status, body)
		}
	}
	// A token counts before the certificate, also one that is bad.
	token := mint(t, auth.Claims{Subject: "ann", Subscribe: []outbox.Pattern{"b"}})
	if status, _ := asked(t, s.address, "/events?topic=b&wait=0", &prometheus, "Accept", "application/json", "Authorization", "Bearer "+token); status != 200 {
		t.Errorf("a token beside it: %d", status)
	}
	if status, _ := asked(t, s.address, "/metrics", &prometheus, "Authorization", "Bearer "+token+"x"); status != 401 {
		t.Errorf("a bad token beside it: %d", status)
	}
	// Its rights can be revoked like a token's, and by a change of the file.
	if got := runWith(t, []string{"DATABASE_URL=" + database}, "token", "revoke", "--sub", "reader", "--reason", "left"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	eventually(t, func() bool {
		status, _ := asked(t, s.address, poll, &reader, "Accept", "application/json")
		return status == 401
	})
	writeFile(t, identities, `{"cn:prometheus": {"outcrier": {"admin": ["everything"]}}}`)
	eventually(t, func() bool {
		_, _ = asked(t, s.address, "/metrics", &prometheus)
		return strings.Contains(s.String(), "file can't be read")
	})
	if status, _ := asked(t, s.address, "/metrics", &prometheus); status != 200 {
		t.Errorf("with a file that is wrong: %d", status)
	}
	writeFile(t, identities, `{}`)
	eventually(t, func() bool { status, _ := asked(t, s.address, "/metrics", &prometheus); return status == 403 })
	// And a new authority takes over without a restart.
	writeFile(t, identities, entries)
	other.write(t, ca)
	successor := other.issue(named("prometheus"))
	eventually(t, func() bool { status, _ := asked(t, s.address, "/metrics", &successor); return status == 200 })
	if status, _ := asked(t, s.address, "/metrics", &prometheus); status != 0 {
		t.Errorf("by the authority of before: %d", status)
	}
}

func ptr[T any](value T) *T { return &value }

// Where browsers come too, a certificate is asked for and not needed.
func TestServe_ClientCertificatesMayBeLeftOut(t *testing.T) {
	dir := t.TempDir()
	cert, key, ca, identities := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "identities.json")
	writeCertificate(t, cert, key, "one.example.com")
	trusted, other := newClientAuthority(t), newClientAuthority(t)
	trusted.write(t, ca)
	writeFile(t, identities, `{"cn:prometheus": {"outcrier": {"admin": ["metrics"]}}}`)
	s := serve(t, nil, "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca, "--tls-client-optional", "--tls-client-identities", identities)
	if status, _ := asked(t, s.address, "/healthz", nil); status != 200 {
		t.Errorf("without: %d", status)
	}
	if status, _ := asked(t, s.address, "/metrics", nil); status != 401 {
		t.Errorf("metrics without: %d", status)
	}
	if status, _ := asked(t, s.address, "/metrics", ptr(trusted.issue(named("prometheus")))); status != 200 {
		t.Errorf("metrics: %d", status)
	}
	if status, _ := asked(t, s.address, "/healthz", ptr(other.issue(named("prometheus")))); status != 0 {
		t.Errorf("a bad one: %d", status)
	}
	_ = os.Remove(identities) // as while it is written
	if status, _ := asked(t, s.address, "/metrics", ptr(trusted.issue(named("prometheus")))); status != 200 {
		t.Errorf("without the file: %d", status)
	}
	for says, args := range map[string][]string{
		"needs --tls-client-ca too":         {"--tls-client-optional"},
		"needs --tls-cert too":              {"--tls-client-ca", ca},
		"it has no certificate in PEM form": {"--tls-client-ca", key, "--tls-cert", cert, "--tls-key", key},
		"is no name of a certificate":       {"--tls-client-ca", ca, "--tls-cert", cert, "--tls-key", key, "--tls-client-identities", wrong(t, `{"prometheus": {}}`)},
		`unknown grant "all"`:               {"--tls-client-ca", ca, "--tls-cert", cert, "--tls-key", key, "--tls-client-identities", wrong(t, `{"cn:p": {"outcrier": {"admin": ["all"]}}}`)},
		`unknown member "exp"`:              {"--tls-client-ca", ca, "--tls-cert", cert, "--tls-key", key, "--tls-client-identities", wrong(t, `{"cn:p": {"exp": 1}}`)},
		"a name is given twice":             {"--tls-client-ca", ca, "--tls-cert", cert, "--tls-key", key, "--tls-client-identities", wrong(t, `{"cn:p": {}, "cn:p": {}}`)},
		"needs --tls-client-optional with ": {"--tls-client-ca", ca, "--autocert-host", "a.example.com", "--autocert-cache", dir},
	} {
		if _, err := loaded[serveConfig](t, nil, append([]string{"--database-url", dsn, "--jwt-secret", secret}, args...)...); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want something about %q", err, says)
		}
	}
}

func wrong(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "identities.json")
	writeFile(t, name, text)
	return name
}
