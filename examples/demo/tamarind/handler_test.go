package tamarind

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

func request(d *Business, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	d.Handler().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

func TestAPI_ACaseFromSubmissionToTrade(t *testing.T) {
	d := newBusiness(t)
	const desk = "/api/demo/people/"
	for _, step := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", desk + "ada/items", `{"title": "Winter blend", "symbol": "COFFEE", "quantity": 5}`, 201},
		{"POST", desk + "rita/items/1/approve", `{"note": "go"}`, 200},
		{"POST", desk + "tom/items/1/trade", "", 201},
		{"POST", desk + "ada/items", `{"title": "Another"}`, 201},
		{"POST", desk + "rita/items/2/reject", "", 200},
		{"POST", desk + "ada/login", `{"pin": "1815"}`, 200},
		{"POST", desk + "ada/logout", "", 200},
		{"POST", desk + "ada/help", `{"about": "AUTH-3"}`, 201},
		{"POST", desk + "tom/sync", "", 200},
		{"POST", desk + "rita/maintenance", `{"note": "scales", "starts_in": 30, "lasts": 30}`, 201},
		{"DELETE", desk + "rita/maintenance/1", "", 200},
		{"GET", desk + "ada/state", "", 200},
		{"GET", "/api/demo/people", "", 200},
	} {
		w := request(d, step.method, step.path, step.body)
		if w.Code != step.status || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d %s", step.method, step.path, w.Code, w.Body)
		}
	}
	if people := request(d, "GET", "/api/demo/people", "").Body.String(); strings.Contains(people, "1815") {
		t.Errorf("the API tells PINs: %s", people)
	}
}

func TestAPI_AnswersProblems(t *testing.T) {
	d := newBusiness(t)
	const desk = "/api/demo/people/"
	request(d, "POST", desk+"ada/items", `{"title": "a"}`)
	request(d, "POST", desk+"rita/items/1/approve", "")
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		field              string
	}{
		"approved already":    {"POST", desk + "rita/items/1/approve", "", 409, ""},
		"unknown item":        {"POST", desk + "rita/items/99/approve", "", 404, ""},
		"item not a number":   {"POST", desk + "rita/items/x/approve", "", 404, ""},
		"unknown person":      {"GET", desk + "zoe/state", "", 404, ""},
		"strange person":      {"GET", desk + "%FF/state", "", 404, ""},
		"person not UTF-8":    {"POST", desk + "%FF/items", `{"title": "a"}`, 404, ""},
		"person with NUL":     {"POST", desk + "a%00/items", `{"title": "a"}`, 404, ""},
		"of another role":     {"POST", desk + "ada/items/1/approve", "", 403, ""},
		"no title":            {"POST", desk + "ada/items", "", 422, "title"},
		"title of wrong type": {"POST", desk + "ada/items", `{"title": 7}`, 400, "title"},
		"quantity fraction":   {"POST", desk + "ada/items", `{"title": "a", "quantity": 1.5}`, 400, "quantity"},
		"symbol with NUL":     {"POST", desk + "ada/items", `{"title": "a", "symbol": "\u0000"}`, 422, "symbol"},
		"not JSON":            {"POST", desk + "ada/items", `{"title"`, 400, ""},
		"not an object":       {"POST", desk + "ada/items", `[]`, 400, ""},
		"two objects":         {"POST", desk + "ada/items", `{"title": "a"} {}`, 400, ""},
		"too long":            {"POST", desk + "ada/items", `{"title": "` + strings.Repeat("a", bodyLimit) + `"}`, 413, ""},
		"no PIN":              {"POST", desk + "ada/login", "{}", 422, "pin"},
		"wrong PIN":           {"POST", desk + "ada/login", `{"pin": "0000"}`, 401, "pin"},
	} {
		t.Run(name, func(t *testing.T) {
			w := request(d, c.method, c.path, c.body)
			var p struct {
				Title, Detail, Code, Field string
				Values                     []any
				Status                     int
			}
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatalf("%v in %s", err, w.Body)
			}
			if w.Code != c.status || p.Status != c.status || p.Field != c.field || p.Title == "" || p.Detail == "" || p.Code == "" {
				t.Errorf("%d %s, want %d on %q", w.Code, w.Body, c.status, c.field)
			}
			if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("content type %q", got)
			}
		})
	}
}

func TestAPI_RefusesOtherSites(t *testing.T) {
	d := newBusiness(t)
	r := httptest.NewRequest("POST", "/api/demo/people/ada/items", strings.NewReader(`{"title": "a"}`))
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	d.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("got %d", w.Code)
	}
	wantEvents(t, d, 0)
}

func TestPages_SayThatTheDatabaseIsAway(t *testing.T) {
	d := newBusiness(t)
	away, err := pgxpool.New(t.Context(), "postgres://127.0.0.1:1/away?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	d.pool = away
	for _, path := range []string{"/", "/p/ada"} {
		w := request(d, "GET", path, "")
		html := w.Body.String()
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(html, "database can't be reached") || !strings.Contains(html, `http-equiv="refresh"`) {
			t.Errorf("%s: %d %s", path, w.Code, html)
		}
	}
	if w := request(d, "GET", "/api/demo/people/ada/state", ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"no_database"`) {
		t.Errorf("the API: %d %s", w.Code, w.Body)
	}
}

func TestPages_KeepToTheirPolicy(t *testing.T) {
	d := newBusiness(t)
	inline := regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|\sstyle=|\son[a-z]+=`)
	asset := regexp.MustCompile(`(?:src|href)="(/demo/[^"]+)"`)
	panes := regexp.MustCompile(`class="pane" data-person="(\w+)"`)
	for path, want := range map[string]string{"/": "ada rita tom", "/?submitter=bo": "bo rita tom", "/?submitter=rita": "ada rita tom", "/p/cleo": "cleo"} {
		var got []string
		for _, match := range panes.FindAllStringSubmatch(request(d, "GET", path, "").Body.String(), -1) {
			got = append(got, match[1])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s shows %q, want %s", path, got, want)
		}
	}
	for path, status := range map[string]int{"/": 200, "/p/ada": 200, "/p/rita": 200, "/p/tom": 200, "/p/nobody": 404} {
		w := request(d, "GET", path, "")
		if w.Code != status || w.Header().Get("Content-Security-Policy") != policy {
			t.Errorf("%s: %d, policy %q", path, w.Code, w.Header().Get("Content-Security-Policy"))
		}
		if found := inline.FindString(w.Body.String()); found != "" {
			t.Errorf("%s has %q", path, found)
		}
		for _, match := range asset.FindAllStringSubmatch(w.Body.String(), -1) {
			if got := request(d, "GET", match[1], ""); got.Code != 200 {
				t.Errorf("%s refers to %s: %d", path, match[1], got.Code)
			}
		}
	}
}

// Every text of the page is there in both languages, and every translated problem is
// one that the server has.
func TestPages_HaveAllWords(t *testing.T) {
	source, err := static.ReadFile("static/strings.js")
	if err != nil {
		t.Fatal(err)
	}
	en, zh, _ := strings.Cut(string(source), "\n  zh: {")
	names := func(text string) map[string]bool {
		found := map[string]bool{}
		for _, match := range regexp.MustCompile(`(?m)(?:^    |, )(?:'([a-z][\w.-]*)'|([a-z]\w*)): '`).FindAllStringSubmatch(text, -1) {
			found[strings.TrimSuffix(strings.TrimSuffix(match[1]+match[2], ".one"), ".other")] = true
		}
		return found
	}
	english, chinese := names(en), names(zh)
	if len(english) < 100 {
		t.Fatalf("found %d words", len(english))
	}
	for name := range english {
		if !chinese[name] {
			t.Errorf("%s is not in Chinese", name)
		}
	}
	codes := regexp.MustCompile(`(?:problem\([\w.]+|invalid\([\w"]+), "(\w+)"`)
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		code, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range codes.FindAllStringSubmatch(string(code), -1) {
			if match[1] != "maintenance_" && !chinese["problem."+match[1]] {
				t.Errorf("%s: problem %s is not in Chinese", name, match[1])
			}
		}
	}
}
