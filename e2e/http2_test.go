package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// Over HTTP/2 all streams of a page share one connection and its window. Streams that a page
// opens and doesn't read fill it, and hold up the others only until they end as stalled.
func TestHTTP2_StreamsThatNobodyReadsHoldOthersUpUntilTheyEnd(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	certificate, key := certificate(t)
	s := startAs(t, "serve", "--dev", "--database-url", database, "--tls-cert", certificate, "--tls-key", key, "--stall", "3s", "--metrics", "open", "--retry", "200ms", "--log-level", "warn")
	tab := newTab(t)
	call(t, tab, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true})
	do(t, tab, chromedp.Navigate(s.base+"/admin"))
	if over := eval[string](t, tab, "performance.getEntriesByType('navigation')[0].nextHopProtocol"); over != "h2" {
		t.Fatalf("the page came by %q", over)
	}
	eval[bool](t, tab, `(async () => {
		globalThis.unread = await Promise.all([1, 2, 3, 4].map(() => fetch('/events?topic=large', { headers: { accept: 'text/event-stream' } })));
		globalThis.got = [];
		new EventSource('/events?topic=small&from=earliest').addEventListener('t', ({ data }) => got.push(JSON.parse(data).data));
		return true;
	})()`)
	db := connect(t, database)
	insert(t, db, "small", "t", "1")
	wait(t, tab, "got.join() === '1'")

	// A stream's window is 6 MB in Chromium, the connection's 15 MB.
	large := `"` + strings.Repeat("x", 1<<20-2) + `"`
	for range 8 {
		insert(t, db, "large", "t", large)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	testkit.Eventually(t, "a stream stalls", func() bool {
		response, err := client.Get(s.base + "/metrics")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return err == nil && regexp.MustCompile(`ended_total\{reason="stalled"\} [1-9]`).Match(text)
	})
	insert(t, db, "small", "t", "2")
	wait(t, tab, "got.join() === '1,2'")
	if !eval[bool](t, tab, "Promise.all(unread.map((one) => one.text().then(() => false, () => true))).then((broken) => broken.every(Boolean))") {
		t.Error("a stream that nobody reads goes on")
	}
}

// certificate returns files with a self-signed certificate and its key.
func certificate(t *testing.T) (certificate, key string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	server.Close()
	pair := server.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, block *pem.Block) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return file("tls.crt", &pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), file("tls.key", &pem.Block{Type: "PRIVATE KEY", Bytes: private})
}
