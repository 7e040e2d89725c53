package outbox_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/outbox"
)

// Only verify-full proves that it is the database that answers; a man in the middle says
// that he has no TLS, or has a certificate of his own.
func TestInsecure_NamesHostsThatAreNotProven(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u:p@db.example/x":                               "without TLS",
		"postgres://u:p@db.example/x?sslmode=prefer":                "without TLS",
		"postgres://u:p@db.example/x?sslmode=allow":                 "without TLS",
		"postgres://u:p@db.example/x?sslmode=disable":               "without TLS",
		"postgres://u:p@db.example/x?sslmode=require":               "does not prove",
		"postgres://u:p@10.0.0.5/x?sslmode=verify-ca":               "does not prove",
		"postgres://u:p@db.example/x?sslmode=verify-full":           "",
		"host=db.example sslmode=verify-full":                       "",
		"postgres://u:p@localhost/x":                                "",
		"postgres://u:p@127.0.0.1:5432/x?sslmode=disable":           "",
		"postgres://u:p@[::1]/x":                                    "",
		"host=/var/run/postgresql dbname=x":                         "",
		"postgres://u:p@localhost,db.example/x":                     "without TLS",
		"postgres://u:p@localhost.example/x":                        "without TLS",
		"postgres://u:p@a.example,b.example/x?sslmode=verify-full":  "",
		outbox.FileURL(urlFile(t, "postgres://u:p@db.example/x\n")): "without TLS",
	} {
		host, why := outbox.Insecure(url)
		if (host == "") != (want == "") || !strings.Contains(why, want) || strings.Contains(why, "u:p") {
			t.Errorf("%s: %q %q, want %q", url, host, why, want)
		}
	}
}

func urlFile(t *testing.T, url string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(name, []byte(url), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
