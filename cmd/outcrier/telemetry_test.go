package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/auth"
)

// scrape reads the metrics, with a token or without.
func scrape(t *testing.T, url, token string) (int, string) {
	t.Helper()
	request := must(http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil))
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode, string(must(io.ReadAll(response.Body)))
}

// sample is the value of a series of a scrape; -1 when it is not there.
func sample(t *testing.T, text, series string) float64 {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(text)
	if found == nil {
		return -1
	}
	return must(strconv.ParseFloat(found[1], 64))
}

func mint(t *testing.T, claims auth.Claims) string {
	t.Helper()
	return must(auth.Mint(must(auth.ParseSecret([]byte(secret))), claims, time.Hour))
}

func TestMetrics_CountWhatHappens(t *testing.T) {
	s := serve(t, nil, "--dev", "--audit")
	all := func() string {
		t.Helper()
		status, text := scrape(t, "http://"+s.address+"/metrics", "")
		if status != 200 {
			t.Fatalf("%d: %s", status, text)
		}
		return text
	}
	eventually(t, func() bool {
		return sample(t, all(), `outcrier_listen_state{state="works"}`) == 1
	})
	stream, err := http.Get("http://" + s.address + "/events?topic=secret/topic/**") //nolint:bodyclose // it is, by the defer
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	heard := make(chan bool)
	go func() {
		var read bytes.Buffer
		for !strings.Contains(read.String(), "third") {
			if _, err := io.CopyN(&read, stream.Body, 1); err != nil {
				break
			}
		}
		heard <- strings.Contains(read.String(), "third")
	}()
	for _, name := range []string{"first", "second", "third"} {
		body := `{"topic":"secret/topic/` + name + `","type":"secret.type","payload":{"n":"` + name + `"}}`
		response, err := http.Post("http://"+s.address+"/events", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != 201 {
			t.Fatal(response.Status)
		}
	}
	if !<-heard {
		t.Fatal("the stream has ended")
	}
	// The tail is idle: its counters don't change any more.
	want := map[string]float64{
		"outcrier_tail_events_total": 3, "outcrier_sent_events_total": 3, "outcrier_append_to_dispatch_seconds_count": 3,
		"outcrier_append_requests_total": 3, "outcrier_appended_events_total": 3, `outcrier_readers{protocol="http1"}`: 1,
		"outcrier_streams_open": 1, `outcrier_subscriptions{state="parked"}`: 1, "outcrier_tail_lag_seconds": 0,
		"outcrier_tail_caught_events_total": 0, "outcrier_in_flight_transactions": 0, "outcrier_partitions_ahead": 3,
		"outcrier_database_answers": 1, `outcrier_tail_state{state="following"}`: 1, "outcrier_replay_buffer_events": 3,
	}
	var text string
	missing := func() (missing []string) {
		text = all()
		for series, value := range want {
			if got := sample(t, text, series); got != value {
				missing = append(missing, series+" is "+strconv.FormatFloat(got, 'g', -1, 64)+", want "+strconv.FormatFloat(value, 'g', -1, 64))
			}
		}
		return missing
	}
	for deadline := time.Now().Add(time.Minute); len(missing()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s\n%s", strings.Join(missing(), "\n"), text)
		}
	}
	if n := sample(t, text, "outcrier_dispatch_to_socket_seconds_count"); n < 1 || n > 3 {
		t.Errorf("%v writes of live events, want 1 to 3", n)
	}
	if sample(t, text, "outcrier_wake_up_requests_total") < 1 || sample(t, text, "outcrier_sent_bytes_total") < 300 {
		t.Errorf("wake-ups or bytes are not counted:\n%s", text)
	}
	if strings.Contains(text, "secret") {
		t.Error("a topic or a type is in there")
	}
	wellFormed(t, text)
	inDocuments(t, text)
}

// wellFormed has promtool look at a scrape.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	promtool(t, text, "check", "metrics")
}

// promtool fails the test if promtool does. It comes with Debian's prometheus.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Log("promtool is not installed, and not asked")
		return
	}
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Stdin, cmd.Dir = strings.NewReader(stdin), "../../deploy/prometheus"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestAlerts_FireForWhatTheyAreAboutOnly(t *testing.T) {
	promtool(t, "", "check", "rules", "alerts.yml")
	promtool(t, "", "test", "rules", "alerts_test.yml", "alerts_days_test.yml")
	rules, tests := string(must(os.ReadFile("../../deploy/prometheus/alerts.yml"))), ""
	for _, name := range []string{"alerts_test.yml", "alerts_days_test.yml"} {
		tests += string(must(os.ReadFile("../../deploy/prometheus/" + name)))
	}
	docs := string(must(os.ReadFile("../../docs/metrics.md")))
	for _, alert := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		if !strings.Contains(tests, "alertname: "+alert[1]+"\n        exp_alerts:\n          - ") {
			t.Errorf("no test has %s fire", alert[1])
		}
		if !strings.Contains(docs, "`"+alert[1]+"`") {
			t.Errorf("docs/metrics.md does not tell what to do about %s", alert[1])
		}
	}
}

// roleName is a role of the database's.
var roleName = regexp.MustCompile(`^outcrier_(writer|reader|server|operator|two_phase)$`)

var (
	metricName = regexp.MustCompile(`\boutcrier_[a-z0-9_]+`)
	histogram  = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// inDocuments compares the names of a scrape with those in the documents: every scraped
// name is explained and on the dashboard, and every name that is used there is scraped.
func inDocuments(t *testing.T, text string) {
	t.Helper()
	var scraped []string
	for _, line := range regexp.MustCompile(`(?m)^# TYPE (outcrier_\S+)`).FindAllStringSubmatch(text, -1) {
		scraped = append(scraped, line[1])
	}
	// Each reason too, from the start: the first of a counter that comes later is in no rate.
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| .*by `reason`: (.*)$").FindAllStringSubmatch(string(must(os.ReadFile("../../docs/metrics.md"))), -1) {
		for _, reason := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[2], -1) {
			if series := row[1] + `{reason="` + reason[1] + `"}`; sample(t, text, series) < 0 {
				t.Errorf("docs/metrics.md tells of %s, which is in no scrape", series)
			}
		}
	}
	for name, every := range map[string]bool{"docs/metrics.md": true, "deploy/grafana/outcrier.json": true, "deploy/prometheus/alerts.yml": false} {
		content := must(os.ReadFile("../../" + name))
		if strings.HasSuffix(name, ".json") && !json.Valid(content) {
			t.Errorf("%s is not JSON", name)
		}
		var used []string
		for _, metric := range metricName.FindAllString(string(content), -1) {
			if !slices.Contains(scraped, metric) {
				metric = histogram.ReplaceAllString(metric, "")
			}
			if used = append(used, metric); !slices.Contains(scraped, metric) && !roleName.MatchString(metric) {
				t.Errorf("%s names %s, which is in no scrape", name, metric)
			}
		}
		for _, metric := range scraped {
			if every && !slices.Contains(used, metric) {
				t.Errorf("%s does not have %s", name, metric)
			}
		}
	}
}

func TestMetrics_AreForWhoMayReadThem(t *testing.T) {
	environ := []string{"OUTCRIER_JWT_SECRET=" + secret}
	admin, other := mint(t, auth.Claims{Admin: true}), mint(t, auth.Claims{Subject: "ann"})
	s := serve(t, environ)
	for token, want := range map[string]int{"": 401, other: 403, admin: 200} {
		if status, _ := scrape(t, "http://"+s.address+"/metrics", token); status != want {
			t.Errorf("admin only: %d, want %d", status, want)
		}
	}
	_, text := scrape(t, "http://"+s.address+"/metrics", admin)
	for _, reason := range []string{"no_token", "forbidden"} {
		if n := sample(t, text, `outcrier_refusals_total{reason="`+reason+`"}`); n != 1 {
			t.Errorf("%v refused for %s, want 1", n, reason)
		}
	}
	s = serve(t, environ, "--metrics", "open")
	if status, _ := scrape(t, "http://"+s.address+"/metrics", ""); status != 200 {
		t.Errorf("open: %d", status)
	}
	apart := freeAddress()
	s = serve(t, environ, "--metrics", apart)
	eventually(t, func() bool {
		response, err := http.Get("http://" + apart + "/metrics")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == 200
	})
	for url, want := range map[string]int{"http://" + s.address + "/metrics": 404, "http://" + apart + "/events": 404} {
		if status, _ := scrape(t, url, admin); status != want {
			t.Errorf("%s: %d, want %d", url, status, want)
		}
	}
	if got := runWith(t, environ, "serve", "--database-url", dsn, "--metrics", "everybody"); got.code != exitMistake || !strings.Contains(got.stderr, "want admin, open or an address") {
		t.Errorf("%+v", got)
	}
}
