package encryption

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// serve is a whole server, with an audit, that logs all that it can.
func serve(t *testing.T) (url string, pool *pgxpool.Pool, log *testkit.Log) {
	t.Helper()
	database := outboxtest.URL(t)
	pool, log = outboxtest.Pool(t, database), new(testkit.Log)
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	node, err := outcrier.New(t.Context(), outcrier.Config{DatabaseURL: database, Open: true, Audit: true, DrainTime: -1, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(node.Handler())
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	t.Cleanup(func() {
		server.CloseClientConnections()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return server.URL, pool, log
}

func newKey(id string) Key {
	key := Key{ID: id, Secret: make([]byte, 32)}
	_, _ = rand.Read(key.Secret) // never fails
	return key
}

// flag is the key as follow.mjs takes it.
func (k Key) flag() string { return k.ID + "=" + base64.RawURLEncoding.EncodeToString(k.Secret) }

// seal is a draft on topic whose payload says what.
func seal(t *testing.T, key Key, topic, what string) outbox.Draft {
	t.Helper()
	draft, err := Seal(outbox.Draft{Topic: topic, Type: "account.changed", Payload: map[string]string{"iban": what}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return draft
}

// The application encrypts, the reader decrypts, and everything in between has only
// ciphertext: the table, the log and the wire. A new key can replace an old one, and a
// payload that was copied, changed or sealed with another key is refused.
func TestSealedPayloads_AreReadByTheirReaderAlone(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI is set, but node is not installed")
		}
		t.Skip("node is not installed")
	}
	url, pool, log := serve(t)
	old, current, strange := newKey("2026-10"), newKey("2026-11"), newKey("2026-11")
	const secret, other = "DE02-SECRET-ONE é", "DE02-SECRET-TWO"
	first, second := seal(t, old, "user/42", secret), seal(t, current, "user/42", other)

	moved := first // to a reader who holds the key, as news of their own
	moved.Topic = "user/7"
	renamed := first
	renamed.Type = "account.closed"
	parts := strings.Split(first.Payload.(Sealed).JWE, ".")
	claims := must(base64.RawURLEncoding.DecodeString(parts[0]))
	claimed := moved // and with the header changed to fit
	parts[0] = base64.RawURLEncoding.EncodeToString(bytes.ReplaceAll(claims, []byte("user/42"), []byte("user/7")))
	claimed.Payload = Sealed{strings.Join(parts, ".")}
	drafts := []outbox.Draft{
		first, second, moved, renamed, claimed, seal(t, strange, "user/42", secret), seal(t, newKey("2027-01"), "user/42", secret),
		{Topic: "user/42", Type: "account.changed", Payload: map[string]string{"jwe": "x"}}, {Topic: "user/42", Type: "end"},
	}
	err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := outbox.Append(t.Context(), tx, drafts...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	stream := url + "/events?topic=user/*&from=earliest"
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	reader := exec.CommandContext(ctx, node, "follow.mjs", stream, old.flag(), current.flag())
	reader.Stderr = t.Output()
	out, err := reader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stop(); _ = reader.Wait() }()
	type line struct {
		Payload *struct{ IBAN string }
		Refused string
	}
	want := []line{
		{Payload: &struct{ IBAN string }{secret}}, {Payload: &struct{ IBAN string }{other}},
		{Refused: "sealed for another topic or type"}, {Refused: "sealed for another topic or type"},
		{Refused: "OperationError"}, {Refused: "OperationError"}, // WebCrypto's, for data that is not authentic
		{Refused: "sealed with key 2027-01, which is not held here"},
		{Refused: "not sealed"}, {Refused: "not sealed"},
	}
	lines := bufio.NewScanner(out)
	for i, want := range want {
		var got line
		if !lines.Scan() {
			t.Fatalf("the reader ended after %d: %v", i, lines.Err())
		}
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		opened := got.Payload != nil && want.Payload != nil && *got.Payload == *want.Payload
		refused := got.Payload == nil && want.Payload == nil && (want.Refused == "OperationError" || strings.HasPrefix(got.Refused, want.Refused)) && got.Refused != ""
		if !opened && !refused {
			t.Errorf("event %d: %s, want %+v", i, lines.Bytes(), want)
		}
	}

	// The wire, all that the database holds, and the log.
	request := must(http.NewRequestWithContext(ctx, http.MethodGet, url+"/events?topic=user/*&from=earliest&wait=0", nil))
	request.Header.Set("Accept", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	wire := string(must(io.ReadAll(response.Body)))
	held := contents(t, pool)
	if !strings.Contains(wire, first.Payload.(Sealed).JWE) || !strings.Contains(held, first.Payload.(Sealed).JWE) {
		t.Error("the ciphertext is not where it should be found")
	}
	for where, text := range map[string]string{"wire": wire, "database": held, "log": log.String()} {
		for _, what := range []string{"SECRET", "iban", string(old.Secret), base64.RawURLEncoding.EncodeToString(old.Secret), `\xc3\xa9`} {
			if strings.Contains(text, what) {
				t.Errorf("%s has %q", where, what)
			}
		}
	}
}

// contents is every row of every table of the database, as text.
func contents(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	rows, _ := pool.Query(t.Context(), `SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('public', 'outcrier')`)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, table := range tables {
		rows, _ := pool.Query(t.Context(), `SELECT t::text FROM `+table+` AS t`)
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(strings.Join(list, "\n"))
	}
	return all.String()
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
