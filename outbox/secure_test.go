package outbox_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

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

// middle is a man in the middle who says that he has no TLS, and counts who then goes on
// in the open.
func middle(t *testing.T) (address string, spoken *atomic.Int32) {
	t.Helper()
	listen, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	spoken = new(atomic.Int32)
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
				client := pgproto3.NewBackend(conn, conn)
				for {
					message, err := client.ReceiveStartupMessage()
					if err != nil {
						return
					}
					if _, plain := message.(*pgproto3.StartupMessage); plain {
						spoken.Add(1)
						return
					}
					if _, err := conn.Write([]byte("N")); err != nil {
						return
					}
				}
			})
		}
	})
	return listen.Addr().String(), spoken
}

// A man in the middle who answers N gets nothing from verify-full, by the pool or the
// tail; in every other mode he learns who connects, and Insecure warns of that before.
func TestInsecure_AManInTheMiddleGetsNothingFromVerifyFull(t *testing.T) {
	for _, mode := range []string{"verify-full", "verify-ca", "require", "prefer", "allow", "disable"} {
		address, spoken := middle(t)
		url := "postgres://u:p@" + address + "/x?connect_timeout=5&sslmode=" + mode
		if _, err := outbox.Connect(t.Context(), url); err == nil {
			t.Fatal("connected")
		} else if why, _ := outbox.Explain(err); strings.HasPrefix(mode, "verify") && !strings.HasPrefix(why, "TLS to the database fails") {
			t.Errorf("%s: %v is told as %q", mode, err, why)
		}
		open := spoken.Load() > 0
		_, port, _ := strings.Cut(address, ":")
		host, _ := outbox.Insecure("postgres://u:p@db.example:" + port + "/x?sslmode=" + mode)
		if open != (mode == "prefer" || mode == "allow" || mode == "disable") || open && host == "" || mode == "verify-full" && host != "" {
			t.Errorf("%s: in the open %v, warned of %q", mode, open, host)
		}
	}
}
