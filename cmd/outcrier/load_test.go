package main

import (
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outcrier/outcrier"
)

const (
	dsn = "postgres://u:secret@db.example:5432/app"
	// secret is what tokens of the tests are signed with.
	secret = "correct horse battery staple, 32 bytes and more"
)

// loaded is the config that a command would run with, and the error that it
// would end with instead.
func loaded[C any](t *testing.T, environ []string, args ...string) (C, error) {
	t.Helper()
	var grammar struct {
		Test C `cmd:""`
	}
	_, err := parse(&grammar, append([]string{"test"}, args...), process{environ: environ, stdout: io.Discard, stderr: io.Discard})
	return grammar.Test, err
}

func mustLoad[C any](t *testing.T, environ []string, args ...string) C {
	t.Helper()
	got, err := loaded[C](t, environ, args...)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return got
}

func TestConfig_DefaultsAreAsDocumented(t *testing.T) {
	got := mustLoad[serveConfig](t, nil, "--database-url", dsn, "--node", "a1", "--jwt-secret", secret)
	want := serveConfig{
		DatabaseSettings: DatabaseSettings{ConnectionSettings: ConnectionSettings{DatabaseURL: dsn}, OutboxSettings: OutboxSettings{Schema: "outcrier"}},
		ServerSettings: ServerSettings{
			Listen:       "127.0.0.1:8080",
			DirectURL:    dsn,
			Node:         "a1",
			Wake:         "notify",
			Turn:         10 * time.Millisecond,
			IdleTurn:     time.Second,
			Heartbeat:    15 * time.Second,
			Stall:        30 * time.Second,
			Drain:        5 * time.Second,
			Retry:        3 * time.Second,
			Queue:        256,
			ReplayBuffer: 64 << 20,
			MaxStreams:   20_000,
			LimitSettings: LimitSettings{
				StreamsPerPrincipal: 100,
				StreamsPerAddress:   1000,
				MaxTopics:           256,
				PublishRate:         1000,
				PublishBytes:        4 << 20,
				OpenRate:            50,
				MaxScheduled:        10_000,
				ScheduleAhead:       365 * 24 * time.Hour,
				MaxBuffered:         128 << 20,
				MaxBufferedEach:     32 << 20,
				MaxBody:             4 << 20,
				BodyTime:            30 * time.Second,
				MaxURL:              32 << 10,
				MaxHeader:           64 << 10,
				HeaderTime:          5 * time.Second,
			},
			ProxySettings: ProxySettings{ProxyHeader: "X-Forwarded-For"},
			Pool:          8,
			Metrics:       "admin",
			Retention:     7 * 24 * time.Hour,
		},
		AccessSettings: AccessSettings{KeySettings: KeySettings{
			JWTSecret:   secret,
			JWKSRefresh: 5 * time.Minute,
			JWKSMaxAge:  24 * time.Hour,
			JWTLeeway:   30 * time.Second,
		}, LoginSettings: LoginSettings{OIDCClaim: "groups", OIDCSession: 8 * time.Hour}},
		LogSettings: LogSettings{LogLevel: "info", LogFormat: "text"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestConfig_FlagBeatsVariableBeatsDatabaseURLBeatsDefault(t *testing.T) {
	other := func(name string) string { return "postgres://db.example/" + name }
	for _, tt := range []struct {
		name    string
		environ []string
		args    []string
		want    string
	}{
		{"default", nil, nil, ""},
		{"DATABASE_URL", []string{"DATABASE_URL=" + other("a")}, nil, other("a")},
		{"ours", []string{"DATABASE_URL=" + other("a"), "OUTCRIER_DATABASE_URL=" + other("b")}, nil, other("b")},
		{"ours is empty", []string{"DATABASE_URL=" + other("a"), "OUTCRIER_DATABASE_URL="}, nil, other("a")},
		{"flag", []string{"DATABASE_URL=" + other("a"), "OUTCRIER_DATABASE_URL=" + other("b")}, []string{"--database-url", other("c")}, other("c")},
		{"empty flag", []string{"DATABASE_URL=" + other("a")}, []string{"--database-url="}, ""},
		{"last flag", nil, []string{"--database-url", other("a"), "--database-url", other("b")}, other("b")},
		{"last flag, after a wrong one", nil, []string{"--database-url", "nowhere:x", "--database-url", other("b")}, other("b")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := mustLoad[serveConfig](t, tt.environ, append(tt.args, "--dev")...)
			if got.DatabaseURL != tt.want || got.DirectURL != tt.want {
				t.Errorf("database %q, direct %q, want both %q", got.DatabaseURL, got.DirectURL, tt.want)
			}
		})
	}
}

func TestConfig_AllMistakesAreReportedTogether(t *testing.T) {
	_, err := loaded[serveConfig](t, []string{
		"OUTCRIER_WAKE=drum",
		"OUTCRIER_DIRECT_URL=postgres://u:secret@db.example:port/app",
		"OUTCRIER_HEARTBEAT=soon",
		"OUTCRIER_MIGRATE=perhaps",
	}, "--listen", "0.0.0.0:8080", "--node", "a b", "--turn", "2s", "--queue", "1.5", "--max-body", "4MB", "--retention", "1h")
	if err == nil {
		t.Fatal("no error")
	}
	want := strings.TrimSpace(`
11 settings are wrong
  --database-url (OUTCRIER_DATABASE_URL, DATABASE_URL): has to be given; --dev brings up a private Postgres without it
  --direct-url (OUTCRIER_DIRECT_URL): the value given (not shown): want postgres://user:password@host:5432/name, or host=… dbname=…; files that it names have to be readable
  --migrate (OUTCRIER_MIGRATE): "perhaps": want true or false
  --node (OUTCRIER_NODE): "a b": want 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit
  --wake (OUTCRIER_WAKE): "drum": want notify or poll
  --turn (OUTCRIER_TURN): "2s": want 1ms to 1s
  --heartbeat (OUTCRIER_HEARTBEAT): "soon": want a duration like 250ms, 30s, 1h30m or 7d, 100ms to 5m
  --queue (OUTCRIER_QUEUE): "1.5": want a whole number, 1 to 65536
  --max-body (OUTCRIER_MAX_BODY): "4MB": want a number of bytes like 65536, 512KiB or 4MiB, 1KiB to 128MiB
  --retention (OUTCRIER_RETENTION): "1h": want 0, or 24h or more
  --jwt-secret (OUTCRIER_JWT_SECRET): has to be given, or --jwt-secret-file, --jwt-key-file or --jwks-url, or --tls-client-identities: without a key nobody could be let in; --dev needs none, on loopback only`)
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestConfig_EachMistakeNamesWhatIsAllowed(t *testing.T) {
	serve := func(t *testing.T, args ...string) error {
		_, err := loaded[serveConfig](t, nil, append([]string{"--database-url", dsn, "--jwt-secret", secret}, args...)...)
		return err
	}
	dev := func(t *testing.T, args ...string) error {
		_, err := loaded[serveConfig](t, nil, append([]string{"--dev"}, args...)...)
		return err
	}
	mint := func(t *testing.T, args ...string) error {
		_, err := loaded[tokenConfig](t, nil, args...)
		return err
	}
	revoke := func(t *testing.T, args ...string) error {
		_, err := loaded[revokeConfig](t, nil, append([]string{"--database-url", dsn}, args...)...)
		return err
	}
	add := func(t *testing.T, args ...string) error {
		_, err := loaded[appendConfig](t, nil, append([]string{"--database-url", dsn, "--topic", "t", "--type", "a"}, args...)...)
		return err
	}
	follow := func(t *testing.T, args ...string) error {
		_, err := loaded[tailConfig](t, nil, args...)
		return err
	}
	up := func(t *testing.T, args ...string) error {
		_, err := loaded[migrateUpConfig](t, nil, args...)
		return err
	}
	script := func(t *testing.T, args ...string) error {
		_, err := loaded[migrateSQLConfig](t, nil, args...)
		return err
	}
	for _, tt := range []struct {
		load func(*testing.T, ...string) error
		args []string
		want string // "" for no mistake
	}{
		{serve, []string{"--listen", "127.0.0.1:0"}, ""},
		{serve, []string{"--listen", "[::1]:8080"}, ""},
		{serve, []string{"--listen", "localhost:8080"}, ""},
		{serve, []string{"--listen", ":8080"}, ""},
		{serve, []string{"--listen", "db.example:8080"}, ""},
		{dev, []string{"--listen", ":8080"}, "no token is needed there"},
		{dev, []string{"--listen", "db.example:8080"}, "no token is needed there"},
		{dev, []string{"--listen", "127.0.0.1:8080"}, ""},
		{dev, []string{"--listen", ":8080", "--jwt-secret", secret}, ""},
		{serve, []string{"--debug", ":6060"}, "no token is needed there"},
		{serve, []string{"--jwt-secret", ""}, "--jwt-secret (OUTCRIER_JWT_SECRET): has to be given, or --jwt-secret-file, --jwt-key-file or --jwks-url"},
		{serve, []string{"--jwt-secret", "short"}, "the value given (not shown): the secret has 5 bytes, at least 32 are needed"},
		{serve, []string{"--jwt-secret-file", "/nowhere"}, "no such file"},
		{serve, []string{"--jwt-key-file", "/nowhere"}, "no such file"},
		{serve, []string{"--jwt-key-file", "setting.go"}, "not a PEM file"},
		{serve, []string{"--jwks-url", "ftp://issuer.example/keys"}, "allowed are https and http"},
		{serve, []string{"--jwks-refresh", "1s"}, "want 10s to 24h"},
		{serve, []string{"--jwks-url", "https://issuer.example/keys", "--jwks-refresh", "1h", "--jwks-max-age", "90m"}, "want at least twice --jwks-refresh, 2h0m0s"},
		{serve, []string{"--jwks-url", "https://issuer.example/keys", "--jwks-max-age", "0"}, ""},
		{serve, []string{"--token-max-life", "1s"}, "want 0, or 1m to"},
		{serve, []string{"--database-url-file", "/nowhere"}, "want either it or --database-url"},
		{serve, []string{"--database-url", "", "--database-url-file", "/nowhere"}, "no such file"},
		{serve, []string{"--direct-url-file", "/nowhere"}, "no such file"},
		{mint, []string{"--jwt-secret", secret, "--admin"}, ""},
		{mint, []string{"--jwt-secret", secret, "--admin", "read,metrics"}, ""},
		{mint, []string{"--jwt-secret", secret, "--admin=everything"}, `unknown grant "everything"; allowed are metrics, read`},
		{revoke, []string{"--sub", "ann", "--reason", "x"}, ""},
		{revoke, []string{"--reason", "x"}, "want either it or --jti"},
		{revoke, []string{"--sub", "ann", "--jti", "1", "--reason", "x"}, "want either it or --jti"},
		{revoke, []string{"--sub", "ann"}, "--reason (OUTCRIER_REVOKE_REASON): has to be given"},
		{serve, []string{"--oidc-client-id", "x"}, "needs --oidc-issuer too"},
		{serve, []string{"--oidc-issuer", "http://login.example.com"}, "want https, or http on loopback"},
		{serve, []string{"--oidc-issuer", "https://login.example.com", "--oidc-redirect-url", "https://h/elsewhere"}, "want the path /admin/callback"},
		{serve, []string{"--oidc-issuer", "https://login.example.com", "--oidc-grant", "oncall=reed"}, `unknown grant "reed"`},
		{serve, []string{"--oidc-issuer", "https://login.example.com", "--oidc-client-secret-file", "/nowhere"}, "no such file"},
		{serve, []string{"--jwt-leeway", "1h"}, "want 0s to 5m"},
		{serve, []string{"--allow-origin", "https://app.example.com", "--allow-origin", "http://localhost:3000"}, ""},
		{serve, []string{"--allow-origin", "*"}, `"*" can't be`},
		{serve, []string{"--allow-origin", "https://*.example.com"}, `"*" can't be`},
		{serve, []string{"--allow-origin", "null"}, "sandboxed"},
		{serve, []string{"--allow-origin", "https://app.example.com/"}, "nothing after it"},
		{serve, []string{"--allow-origin", "app.example.com"}, "want scheme://host"},
		{serve, []string{"--trust-proxy", "10.0.0.0/8", "--trust-proxy", "::1"}, ""},
		{serve, []string{"--trust-proxy", "proxy"}, "want a network like 10.0.0.0/8"},
		{serve, []string{"--proxy-header", "X-Real-IP"}, "want X-Forwarded-For or Forwarded"},
		{serve, []string{"--tls-cert", "cert.pem"}, "want it and --tls-key"},
		{serve, []string{"--tls-cert", "/nowhere", "--tls-key", "/nowhere"}, "no such file"},
		{serve, []string{"--autocert-host", "events.example.com"}, "--autocert-cache (OUTCRIER_AUTOCERT_CACHE): has to be given"},
		{serve, []string{"--autocert-host", "192.0.2.1", "--autocert-cache", "/tmp"}, "want a name like"},
		{serve, []string{"--autocert-host", "*.example.com", "--autocert-cache", "/tmp"}, "want a name like"},
		{serve, []string{"--autocert-host", "events.example.com", "--autocert-cache", "/tmp", "--h2c"}, "is for plain HTTP"},
		{mint, []string{"--jwt-secret", secret}, ""},
		{mint, nil, "give one of --jwt-secret, --jwt-secret-file and --jwt-private-key-file"},
		{mint, []string{"--jwt-secret", secret, "--jwt-private-key-file", "k.pem"}, "give one of --jwt-secret"},
		{mint, []string{"--jwt-secret", secret, "--subscribe", "a//b"}, "empty segments"},
		{mint, []string{"--jwt-private-key-file", "setting.go"}, "not a PEM file"},
		{add, []string{"--url", "http://h"}, "not both"},
		{serve, []string{"--listen", "127.0.0.1"}, "want host:port"},
		{serve, []string{"--listen", "127.0.0.1:http"}, "want a port from 0 to 65535"},
		{serve, []string{"--wake", "POLL"}, ""},
		{serve, []string{"--turn", "1s", "--idle-turn", "1s"}, ""},
		{serve, []string{"--turn", "1s", "--idle-turn", "999ms"}, "want at least --turn, 1s"},
		{serve, []string{"--turn", "999us"}, "want 1ms to 1s"},
		{serve, []string{"--retention", "0"}, ""},
		{serve, []string{"--retention", "24h"}, ""},
		{serve, []string{"--retention", "-24h"}, "want 0, or 24h or more"},
		{serve, []string{"--max-body", "134217728"}, ""},
		{serve, []string{"--max-body", "134217729"}, "want 1KiB to 128MiB"},
		{serve, []string{"--max-body", "9223372036854775807GiB"}, "want a number of bytes"},
		{serve, []string{"--database-url", "", "--dev", "--direct-url", dsn}, "needs --database-url too"},
		{add, []string{"--payload", "{}"}, ""},
		{add, []string{"--payload", "{"}, "want JSON"},
		{add, []string{"--topic", ""}, "--topic (OUTCRIER_APPEND_TOPIC): has to be given"},
		{add, []string{"--header", "traceparent"}, "want name=value"},
		{add, []string{"--header", "=v"}, "want a name before the ="},
		{add, []string{"--header", "a=b\nc=d"}, "a line break can't be part of it"},
		{add, []string{"--deliver-at", "tomorrow"}, "want a time like"},
		{up, nil, "--database-url (OUTCRIER_DATABASE_URL, DATABASE_URL): has to be given"},
		{up, []string{"--database-url", dsn, "--payload-limit", "65MiB"}, "want 1KiB to 64MiB"},
		{up, []string{"--database-url", dsn, "--schema", "tenant 7", "--outbox", "app.outbox"}, ""},
		{up, []string{"--database-url", dsn, "--schema", "public"}, "needs a schema of its own"},
		{up, []string{"--database-url", dsn, "--schema", "it's"}, `"'"`},
		{up, []string{"--database-url", dsn, "--outbox", "outcrier.outbox"}, "want another schema than Outcrier's own"},
		{serve, []string{"--outbox", "app."}, "want schema.name"},
		{script, nil, ""},
		{script, []string{"--from", "1"}, ""},
		{script, []string{"--from", "1000"}, "is the newest version"},
		{script, []string{"--from", "-1"}, "want 0 or more"},
		{add, []string{"--schema", "pg_temp"}, "Postgres's own"},
		{follow, nil, "has to be given, or --database-url"},
		{follow, []string{"--url", "http://127.0.0.1:8080"}, ""},
		{follow, []string{"--url", "127.0.0.1:8080"}, "want http://host:port"},
		{follow, []string{"--url", "http://h", "--database-url", dsn}, "not both"},
		{follow, []string{"--url", "http://h", "--topic", "a", "--topic", ""}, "none can be empty"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			err := tt.load(t, tt.args...)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("error %q, want none", err)
			case tt.want != "" && err == nil:
				t.Errorf("no error, want %q", tt.want)
			case tt.want != "" && !strings.Contains(err.Error(), tt.want):
				t.Errorf("error %q, want one with %q", err, tt.want)
			}
		})
	}
}

func TestConfig_SecretsAreNeverRepeated(t *testing.T) {
	for _, bad := range []string{
		"postgres://u:secret@db.example:port/app",
		"postgress://u:secret@db.example/app",
		"u:secret@db.example/app",
		"host=db.example password='secret",
		"postgres://u:secret@db.example/app?sslmode=secret",
	} {
		_, err := loaded[serveConfig](t, []string{"DATABASE_URL=" + bad, "OUTCRIER_JWT_SECRET=" + secret})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("database URL %q: error %v, want one without the password", bad, err)
		}
	}
	_, err := loaded[serveConfig](t, nil, "--database-url", dsn, "--jwt-secret", "hunter2", "--jwks-url", "ftp://u:hunter2@issuer/")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v, want one without the keys", err)
	}
	_, err = loaded[tailConfig](t, nil, "--url", "ftp://h/?token=secret")
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v, want one without the token", err)
	}
}

func TestConfig_MigratesByDefaultInDevModeOnly(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want bool
	}{
		{nil, false},
		{[]string{"--dev"}, true},
		{[]string{"--migrate"}, true},
		{[]string{"--dev", "--migrate=false"}, false},
	} {
		got := mustLoad[serveConfig](t, []string{"DATABASE_URL=" + dsn, "OUTCRIER_JWT_SECRET=" + secret}, tt.args...)
		if got.Migrate != tt.want {
			t.Errorf("serve %v migrates: %v", tt.args, got.Migrate)
		}
	}
}

func TestConfig_DevModeDoesNotLimitItsOneClient(t *testing.T) {
	dev := mustLoad[serveConfig](t, nil, "--dev")
	if l := dev.LimitSettings; l.StreamsPerAddress != 0 || l.StreamsPerPrincipal != 0 || l.PublishRate != 0 || l.PublishBytes != 0 || l.OpenRate != 0 ||
		l.MaxScheduled != 0 || l.MaxBufferedEach != 0 || l.MaxBuffered == 0 || l.ScheduleAhead == 0 || l.MaxTopics == 0 {
		t.Errorf("%+v", l)
	}
	if got := mustLoad[serveConfig](t, nil, "--dev", "--max-streams-per-address", "7").StreamsPerAddress; got != 7 {
		t.Errorf("%d, want what was given", got)
	}
	if got := mustLoad[serveConfig](t, nil, "--dev", "--jwt-secret", secret).StreamsPerAddress; got != 1000 {
		t.Errorf("%d with keys, want the default", got)
	}
}

func TestConfig_NodeNamesDiffer(t *testing.T) {
	a, b := mustLoad[serveConfig](t, nil, "--dev").Node, mustLoad[serveConfig](t, nil, "--dev").Node
	if a == b || outcrier.CheckName(a) != nil {
		t.Errorf("nodes %q and %q, want two good names", a, b)
	}
}

func TestConfig_RepeatedFlagsAndSeparatedVariables(t *testing.T) {
	got := mustLoad[appendConfig](t, []string{"DATABASE_URL=" + dsn, "OUTCRIER_APPEND_HEADER=a=1,b=2"}, "--topic", "t", "--type", "a")
	if want := map[string]string{"a": "1", "b": "2"}; !maps.Equal(got.Headers, want) {
		t.Errorf("headers %v, want %v", got.Headers, want)
	}
	got = mustLoad[appendConfig](t, []string{"DATABASE_URL=" + dsn, "OUTCRIER_APPEND_HEADER=a=1,b=2"}, "--topic", "t", "--type", "a",
		"--header", "tracestate=x=1,y=2", "--header", "c=3")
	if want := map[string]string{"tracestate": "x=1,y=2", "c": "3"}; !maps.Equal(got.Headers, want) {
		t.Errorf("headers %v, want %v", got.Headers, want)
	}
	tail := mustLoad[tailConfig](t, nil, "--url", "http://h", "--topic", "user/*", "--topic", "a,b")
	if diff := cmp.Diff([]string{"user/*", "a,b"}, tail.Topics); diff != "" {
		t.Errorf("topics (-want +got):\n%s", diff)
	}
	if tail = mustLoad[tailConfig](t, nil, "--url", "http://h"); !cmp.Equal(tail.Topics, []string{"**"}) {
		t.Errorf("topics %q, want all", tail.Topics)
	}
}

func TestConfig_TailFollowsWhatWasNamedClosest(t *testing.T) {
	for _, tt := range []struct {
		name     string
		environ  []string
		args     []string
		url, dsn string
	}{
		{"flag beats DATABASE_URL", []string{"DATABASE_URL=" + dsn}, []string{"--url", "http://h"}, "http://h", ""},
		{"ours beats DATABASE_URL", []string{"DATABASE_URL=" + dsn, "OUTCRIER_URL=http://h"}, nil, "http://h", ""},
		{"flag beats ours", []string{"OUTCRIER_URL=http://h"}, []string{"--database-url", dsn}, "", dsn},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := mustLoad[tailConfig](t, tt.environ, tt.args...)
			if got.URL != tt.url || got.DatabaseURL != tt.dsn {
				t.Errorf("URL %q, database %q, want %q, %q", got.URL, got.DatabaseURL, tt.url, tt.dsn)
			}
		})
	}
}

// Settings are read as Go reads them, byte for byte.
func TestConfig_TextsAreTakenAsTheyAre(t *testing.T) {
	odd := "\xff\xfe<&>\\," + strings.Repeat("k", 32)
	got := mustLoad[tokenConfig](t, []string{"OUTCRIER_JWT_SECRET=" + odd}, "--subscribe", `a\,b`, "--subject", "-")
	if got.JWTSecret != odd || got.Subject != "-" || !cmp.Equal(got.Subscribe, []string{`a\,b`}) {
		t.Errorf("%q, %q, %q", got.JWTSecret, got.Subject, got.Subscribe)
	}
	if got := mustLoad[serveConfig](t, []string{"OUTCRIER_GZIP=T"}, "--dev", "--queue", "010"); got.Queue != 10 || !got.Gzip {
		t.Errorf("--queue 010 is %d, T is %v", got.Queue, got.Gzip)
	}
	if _, err := loaded[serveConfig](t, nil, "--dev", "--queue", "0x10"); err == nil || !strings.Contains(err.Error(), "want a whole number") {
		t.Errorf("--queue 0x10: %v", err)
	}
}
