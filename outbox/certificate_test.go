package outbox_test

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
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// authority signs the certificates of a server and of its clients.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate, key}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign returns a certificate of that name for 127.0.0.1.
func (a authority) sign(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// encrypted puts TLS before a Postgres without. It shows one certificate after the other, and
// notes whose certificate the newest client has.
type encrypted struct {
	address string

	mu          sync.Mutex
	certificate tls.Certificate
	client      string
}

func newEncrypted(t *testing.T, database string) *encrypted {
	t.Helper()
	config, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	listen, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &encrypted{address: listen.Addr().String()}
	var group sync.WaitGroup
	t.Cleanup(func() { listen.Close(); group.Wait() })
	group.Go(func() {
		for {
			conn, err := listen.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer conn.Close()
				if _, err := pgproto3.NewBackend(conn, conn).ReceiveStartupMessage(); err != nil {
					return
				}
				if _, err := conn.Write([]byte("S")); err != nil {
					return
				}
				e.mu.Lock()
				client := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{e.certificate}, ClientAuth: tls.RequireAnyClientCert})
				e.mu.Unlock()
				if client.Handshake() != nil {
					return
				}
				e.mu.Lock()
				e.client = client.ConnectionState().PeerCertificates[0].Subject.CommonName
				e.mu.Unlock()
				network, address := pgconn.NetworkAddress(config.Host, config.Port)
				server, err := new(net.Dialer).Dial(network, address)
				if err != nil {
					return
				}
				defer server.Close()
				group.Go(func() { _, _ = io.Copy(server, client); server.Close() })
				_, _ = io.Copy(client, server)
			})
		}
	})
	return e
}

// show is the server's certificate from now on.
func (e *encrypted) show(certificate tls.Certificate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.certificate = certificate
}

func (e *encrypted) newest() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.client
}

func writePEM(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	write(t, name, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

// The certificates and the key that a URL names may be replaced while the pool lives: its next
// connection shows the new one, and trusts the new authority and no longer the old one.
func TestPool_ReadsChangedCertificates(t *testing.T) {
	database := outboxtest.URL(t)
	server, folder := newEncrypted(t, database), t.TempDir()
	place := func(name string) string { return filepath.Join(folder, name) }
	install := func(a authority, client string) {
		certificate := a.sign(t, client)
		key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		writePEM(t, place("root"), "CERTIFICATE", a.certificate.Raw)
		writePEM(t, place("certificate"), "CERTIFICATE", certificate.Certificate[0])
		writePEM(t, place("key"), "PRIVATE KEY", key)
	}
	config, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	address := url.URL{Scheme: "postgres", User: url.UserPassword(config.User, config.Password), Host: server.address, Path: "/" + config.Database, RawQuery: url.Values{
		"sslmode": {"verify-full"}, "sslrootcert": {place("root")}, "sslcert": {place("certificate")}, "sslkey": {place("key")},
	}.Encode()}
	one, two := newAuthority(t), newAuthority(t)
	server.show(one.sign(t, "server"))
	install(one, "one")
	pool := outboxtest.Pool(t, address.String())
	asks := func() error {
		pool.Reset()
		_, err := pool.Exec(t.Context(), `SELECT 1`)
		return err
	}
	if err := asks(); err != nil || server.newest() != "one" {
		t.Fatal(err, server.newest())
	}
	server.show(two.sign(t, "server"))
	if err := asks(); err == nil {
		t.Fatal("connected to a server of another authority")
	}
	install(two, "two")
	if err := asks(); err != nil || server.newest() != "two" {
		t.Fatalf("with new files: %v, as %q", err, server.newest())
	}
	write(t, place("key"), "none")
	if err := asks(); err == nil {
		t.Fatal("connected without a key")
	}
	if why, _ := outbox.Explain(outbox.PoolFault(t.Context(), pool)); why != "the file with the database's URL, or one that the URL names, can't be read" {
		t.Errorf("the cause is %q", why)
	}
	install(two, "three")
	testkit.Eventually(t, "the pool connects with the new certificate", func() bool { return outbox.PoolFault(t.Context(), pool) == nil })
	if err := asks(); err != nil || server.newest() != "three" {
		t.Fatalf("with a key again: %v, as %q", err, server.newest())
	}
}
