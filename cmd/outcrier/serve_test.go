package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	randv2 "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// served is a server that runs in this process until the test ends.
type served struct {
	testkit.Log

	address string
}

var addressOf = regexp.MustCompile(`msg=serving address=(\S+)`)

func serve(t *testing.T, environ []string, args ...string) *served {
	t.Helper()
	s := &served{}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	args = append([]string{"serve", "--listen", "127.0.0.1:0", "--database-url", outboxtest.URL(t), "--drain", "0s", "--log-level", "debug"}, args...)
	go func() { ended <- run(ctx, args, environ, strings.NewReader(""), io.Discard, s) }()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != exitDone {
			t.Errorf("it ended with %d:\n%s", code, s.String())
		}
	})
	eventually(t, func() bool {
		found := addressOf.FindStringSubmatch(s.String())
		if found != nil {
			s.address = strings.Replace(found[1], "[::]", "127.0.0.1", 1)
		}
		return found != nil
	})
	return s
}

func eventually(t *testing.T, what func() bool) {
	t.Helper()
	testkit.Eventually(t, "what this line waits for", what)
}

// When the tail has to reconnect, other connections may lead to a server that is no
// longer the primary: none is kept.
func TestServe_KeepsNoConnectionThatIsOlderThanItsTail(t *testing.T) {
	url := outboxtest.URL(t)
	serve(t, nil, "--dev", "--database-url", url)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	const othersSQL = `
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND application_name = 'outcrier' AND pid <> pg_backend_pid() AND backend_start <= $1`
	others := func(until time.Time) (n int) {
		if err := conn.QueryRow(t.Context(), othersSQL, until).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually(t, func() bool { return others(time.Now()) > 1 })
	at := time.Now()
	// What a tail does last is a read, or a request to be woken.
	const killSQL = `
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'outcrier' AND query ~ 'pg_current_snapshot|wake_request|wake_up|LISTEN' AND pid <> pg_backend_pid()`
	eventually(t, func() bool {
		var killed int
		if err := conn.QueryRow(t.Context(), killSQL).Scan(&killed); err != nil {
			t.Fatal(err)
		}
		return killed > 0
	})
	eventually(t, func() bool { return others(at) == 0 })
}

func TestServe_RefusesToStartWithoutAKey(t *testing.T) {
	got := runWith(t, nil, "serve", "--database-url", dsn)
	if got.code != exitMistake || got.stdout != "" {
		t.Errorf("%+v", got)
	}
	for _, flag := range []string{"--jwt-secret (OUTCRIER_JWT_SECRET)", "--jwt-secret-file", "--jwt-key-file", "--jwks-url", "--dev"} {
		if !strings.Contains(got.stderr, flag) {
			t.Errorf("it does not name %s: %s", flag, got.stderr)
		}
	}
}

// From the secret to the event in the terminal, by the commands as one types them; and
// the server's log at level debug contains no secret.
func TestServe_LetsInByTokenOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, nil, "--jwt-secret-file", file, "--listen", ":0")
	minted := runWith(t, []string{"OUTCRIER_JWT_SECRET=" + secret}, "token", "--subject", "ann", "--subscribe", "user/42/**", "--publish", "user/**")
	if minted.code != exitDone {
		t.Fatal(minted.stderr)
	}
	token := strings.TrimSpace(minted.stdout)
	environ := []string{"OUTCRIER_URL=http://" + s.address, "OUTCRIER_TOKEN=" + token, "DATABASE_URL=" + dsn}
	add := func(environ []string, topic string) output {
		return runWith(t, environ, "append", "--topic", topic, "--type", "t", "--payload", `{ "pin":  "hunter2" }`, "--header", "a=b", "--dedup-key", topic)
	}
	if got := add(environ, "user/42"); got.code != exitDone || got.stdout != "1\n" {
		t.Errorf("%+v", got)
	}
	if got := add(environ, "public"); got.code != exitFailed || !strings.Contains(got.stderr, `403 Forbidden: topic "public"`) {
		t.Errorf("%+v", got)
	}
	if got := add(environ[:1], "user/42"); got.code != exitFailed || !strings.Contains(got.stderr, "401 Unauthorized: a token is needed") {
		t.Errorf("%+v", got)
	}
	for topic, want := range map[string]string{"user/42": "", "user/*": `403 Forbidden: topic "user/*"`} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		printed := &notice{on: "hunter2", call: cancel}
		var stderr bytes.Buffer
		code := run(ctx, []string{"tail", "--topic", topic, "--from", "7d", "--format", "payload"}, environ, strings.NewReader(""), printed, &stderr)
		if want == "" && (code != exitDone || printed.String() != `{ "pin":  "hunter2" }`+"\n") || want != "" && (code != exitFailed || !strings.Contains(stderr.String(), want)) {
			t.Errorf("tail of %s: %d, %q, %s", topic, code, printed.String(), stderr.String())
		}
		cancel()
	}
	text := s.String()
	for _, hidden := range []string{token[:40], token[len(token)-20:], secret, "hunter2"} {
		if strings.Contains(text, hidden) {
			t.Errorf("the log has %s", hidden)
		}
	}
	if !strings.Contains(text, "tokens travel unencrypted") || strings.Count(text, "request refused") != 3 {
		t.Errorf("the log is\n%s", text)
	}
}

// notice calls when something was written.
type notice struct {
	bytes.Buffer
	on   string
	call func()
}

func (n *notice) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(n.on)) {
		n.call()
	}
	return n.Buffer.Write(p)
}

func TestServe_DoesNotWaitForWhoSaysNothing(t *testing.T) {
	s := serve(t, []string{"OUTCRIER_JWT_SECRET=" + secret}, "--header-time", "200ms", "--max-header", "4KiB", "--max-url", "2KiB")
	for name, test := range map[string]struct{ text, want string }{
		"nothing":          {"", ""},
		"half a line":      {"GET /healthz", "HTTP/1.1 400 "},
		"half a header":    {"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ", ""},
		"a header too big": {"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 16<<10) + "\r\n\r\n", "HTTP/1.1 431 "},
		"a URL too long":   {"GET /healthz?" + strings.Repeat("x", 3<<10) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 414 "},
		"HTTP/2 unasked":   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 404 "},
	} {
		t.Run(name, func(t *testing.T) {
			conn := must(net.Dial("tcp", s.address))
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(conn, test.text)
			began := time.Now()
			got, err := io.ReadAll(conn)
			if took := time.Since(began); took > 5*time.Second || !strings.HasPrefix(string(got), test.want) || test.want == "" && len(got) > 0 && !strings.HasPrefix(string(got), "HTTP/1.1 408") {
				t.Errorf("%q, %v after %v", got, err, took)
			}
		})
	}
}

// writeCertificate writes one for a name, with its key.
func writeCertificate(t *testing.T, cert, key, name string) {
	t.Helper()
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der := must(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private))
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(private))}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServe_TLSReadsANewCertificateWithoutARestart(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, "one.example.com")
	s := serve(t, []string{"OUTCRIER_JWT_SECRET=" + secret}, "--tls-cert", cert, "--tls-key", key)
	name := func(config *tls.Config) (string, string, error) {
		config.InsecureSkipVerify = true
		dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: config}
		conn, err := dialer.DialContext(t.Context(), "tcp", s.address)
		if err != nil {
			return "", "", err
		}
		defer conn.Close()
		state := conn.(*tls.Conn).ConnectionState()
		return state.PeerCertificates[0].DNSNames[0], state.NegotiatedProtocol, nil
	}
	if got, protocol, err := name(&tls.Config{NextProtos: []string{"h2", "http/1.1"}}); got != "one.example.com" || protocol != "h2" || err != nil {
		t.Errorf("%s by %s: %v", got, protocol, err)
	}
	if _, _, err := name(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("it speaks TLS 1.1")
	}
	writeCertificate(t, cert, filepath.Join(dir, "other.pem"), "other.example.com")
	time.Sleep(lookEvery) // changes are looked for after that
	if got, _, err := name(&tls.Config{}); got != "one.example.com" || err != nil {
		t.Errorf("with files that don't fit: %s: %v", got, err)
	}
	writeCertificate(t, cert, key, "two.example.com")
	eventually(t, func() bool { got, _, err := name(&tls.Config{}); return err == nil && got == "two.example.com" })

	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	request := must(http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.address+"/events?topic=a", nil))
	request.Host = "two.example.com"
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 || response.StatusCode != 401 || response.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s %s %v", response.Proto, response.Status, response.Header)
	}
	plain, err := http.Get("http://" + s.address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Body.Close()
	if plain.StatusCode != 400 {
		t.Errorf("without TLS: %s", plain.Status)
	}
}

func TestServe_H2CWhereAsked(t *testing.T) {
	s := serve(t, []string{"OUTCRIER_JWT_SECRET=" + secret}, "--h2c")
	for major, protocols := range map[int]*http.Protocols{1: new(http.Protocols), 2: new(http.Protocols)} {
		protocols.SetHTTP1(major == 1)
		protocols.SetUnencryptedHTTP2(major == 2)
		transport := &http.Transport{Protocols: protocols}
		defer transport.CloseIdleConnections()
		request := must(http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+"/healthz", nil))
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.ProtoMajor != major || response.StatusCode != 200 {
			t.Errorf("%s %s", response.Proto, response.Status)
		}
	}
}

// A client names the host that a certificate is asked for. Names that are not ours must
// not cost a request to the authority, which limits requests.
func TestAutocert_AsksForItsOwnNamesOnly(t *testing.T) {
	var asked atomic.Int64
	authority := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusTeapot)
	}))
	defer authority.Close()
	config := TLSSettings{AutocertHosts: []string{"events.example.com"}, AutocertCache: t.TempDir(), AutocertDirectory: authority.URL}.tlsConfig(nil)
	hello := func(name string) error {
		_, err := config.GetCertificate(&tls.ClientHelloInfo{ServerName: name, SupportedVersions: []uint16{tls.VersionTLS13}})
		return err
	}
	for _, name := range []string{"evil.example", "", "events.example.com.evil.example", "x.events.example.com", "../events.example.com", "127.0.0.1"} {
		if err := hello(name); err == nil || asked.Load() != 0 {
			t.Errorf("%q: %v, asked %d times", name, err, asked.Load())
		}
	}
	if err := hello("events.example.com"); err == nil || asked.Load() == 0 {
		t.Errorf("%v, asked %d times", err, asked.Load())
	}
	if config.MinVersion != tls.VersionTLS12 {
		t.Error("it speaks less than TLS 1.2")
	}
}

func TestServe_SaysHowToListenElsewhereWhereTheAddressIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	served := runWith(t, nil, "serve", "--dev", "--listen", address)
	if served.code != exitFailed || !strings.Contains(served.stderr, address+": stop it, or choose another address by --listen") {
		t.Errorf("%d\n%s", served.code, served.stderr)
	}
}

func TestDebug_AnswersToNamesOfLoopbackOnly(t *testing.T) {
	for host, status := range map[string]int{"127.0.0.1:6060": 200, "localhost": 200, "evil.example:6060": 421} {
		w := httptest.NewRecorder()
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		request.Host = host
		onLoopback(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, request)
		if w.Code != status {
			t.Errorf("%s: %d, want %d", host, w.Code, status)
		}
	}
}

// freeAddress is one for a server that takes an address only, by UDP and TCP: below
// the ports that the kernel gives to others in the meantime.
func freeAddress() string {
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+randv2.IntN(20_000))
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
