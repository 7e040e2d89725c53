//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/outcrier/outcrier/internal/badnet"
	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// samples are the values of one scrape, by series.
type samples map[string]float64

// history is what Prometheus would have scraped of a node, every so often. The scrapes are
// those of a real node; a state that lasts is a scrape that is repeated.
type history struct {
	t     *testing.T
	rules []string // "OutcrierDown", or "OutcrierDown, absent"
	url   string
	// stretch is by how much the time of a state that is too long for a test is stretched: each
	// second between scrapes, and each in a counter or an age of seconds.
	stretch float64
	// every is the time between scrapes, 30 seconds by default. Of a state that lasts for days there
	// are fewer: promtool evaluates all rules at each.
	every   time.Duration
	scrapes []samples
	tests   []string
}

var (
	sampled    = regexp.MustCompile(`^(outcrier_\w+)(?:\{(.*)\})? (\S+)$`)
	rulesFile  = must(filepath.Abs("../../deploy/prometheus/alerts.yml"))
	alertNames = sync.OnceValue(func() map[string]bool { // the metrics that rules and states ask for
		names := map[string]bool{"outcrier_tail_events_total": true}
		for _, name := range metricName.FindAllString(string(must(os.ReadFile(rulesFile))), -1) {
			names[name] = true
		}
		return names
	})
)

// scrape reads the metrics.
func (h *history) scrape() samples {
	h.t.Helper()
	s := samples{`up{job="outcrier",instance="node"}`: 0}
	request := must(http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.url+"/metrics", nil))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}, Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return s
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return s
	}
	s[`up{job="outcrier",instance="node"}`] = 1
	for line := range strings.Lines(string(text)) {
		name := line[:max(0, strings.IndexAny(line, "{ "))]
		if !alertNames()[name] { // before the pattern, which takes longer: most lines are of other metrics
			continue
		}
		found := sampled.FindStringSubmatch(strings.TrimSpace(line))
		if found == nil {
			h.t.Fatalf("a sample can't be read: %s", line)
		}
		value := must(strconv.ParseFloat(found[3], 64))
		if h.stretch > 0 && strings.Contains(found[1], "_seconds") {
			value *= h.stretch
		}
		labels := `job="outcrier",instance="node"`
		if found[2] != "" {
			labels += "," + found[2]
		}
		s[found[1]+"{"+labels+"}"] = value
	}
	return s
}

// of returns the value of a metric, with labels in the order of a scrape, NaN without one.
func (s samples) of(name string, labels ...string) float64 {
	series := name + "{" + strings.Join(append([]string{`job="outcrier",instance="node"`}, labels...), ",") + "}"
	if value, there := s[series]; there {
		return value
	}
	return math.NaN()
}

func following(s samples) bool {
	return s.of("outcrier_tail_state", `state="following"`) == 1 && s.of("outcrier_tail_lag_seconds") < 1 && s.of("outcrier_database_answers") == 1
}

// last waits until a scrape shows a state, which then lasts for a time.
func (h *history) last(long time.Duration, is func(samples) bool) {
	h.t.Helper()
	s := h.scrape()
	for deadline := time.Now().Add(time.Minute); !is(s); s = h.scrape() {
		if time.Now().After(deadline) {
			h.t.Fatalf("it did not happen within a minute; the last scrape is %v", s)
		}
		time.Sleep(250 * time.Millisecond) // a scrape is the most expensive that this test asks of a node
	}
	for range int(long / h.every) {
		h.scrapes = append(h.scrapes, s)
	}
}

// fire has the rules fire by now, and quiet has them not, when Prometheus has scraped all that.
func (h *history) fire()  { h.expect("[{labels: '{}', value: 1}]") }
func (h *history) quiet() { h.expect("[]") }

func (h *history) expect(found string) {
	for _, rule := range h.rules {
		name, kind, _ := strings.Cut(rule, ", ")
		h.tests = append(h.tests, fmt.Sprintf("      - {expr: 'count(ALERTS{alertstate=\"firing\",alertname=%q,kind=%q})', eval_time: %ds, exp_samples: %s}\n",
			name, kind, int(h.every.Seconds())*(len(h.scrapes)-1), found))
	}
}

// check has promtool evaluate the rules on the scrapes.
func (h *history) check() {
	h.t.Helper()
	var all []string
	for _, s := range h.scrapes {
		for series := range s {
			if !slices.Contains(all, series) {
				all = append(all, series)
			}
		}
	}
	slices.Sort(all)
	file := &strings.Builder{}
	fmt.Fprintf(file, "rule_files: [%q]\nevaluation_interval: %v\ntests:\n  - interval: %[2]v\n    input_series:\n", rulesFile, h.every)
	for _, series := range all {
		values, there := make([]string, len(h.scrapes)), false
		for i, s := range h.scrapes {
			value, is := s[series]
			switch {
			case is && math.IsInf(value, 1):
				values[i] = "Inf"
			case is:
				values[i] = strconv.FormatFloat(value, 'f', -1, 64)
			case there:
				values[i] = "stale" // as Prometheus marks a series that a scrape lacks
			default:
				values[i] = "_"
			}
			there = is
		}
		fmt.Fprintf(file, "      - {series: '%s', values: '%s'}\n", series, strings.Join(values, " "))
	}
	if len(all) == 0 {
		h.t.Fatal("nothing was scraped")
	}
	file.WriteString("    promql_expr_test:\n" + strings.Join(h.tests, ""))
	path := filepath.Join(h.t.TempDir(), "test.yml")
	must(0, os.WriteFile(path, []byte(file.String()), 0o600))
	promtool(h.t, "", "test", "rules", path)
	if h.t.Failed() {
		h.t.Log(file)
	}
}

// TestAlerts_FireAndClearOnWhatARealNodeReports: each supplied rule fires on what a real node
// reports of a state that is provoked, and clears when that is over.
func TestAlerts_FireAndClearOnWhatARealNodeReports(t *testing.T) {
	states := []struct {
		name    string
		rules   []string
		provoke func(*history)
	}{
		{"a node stops", []string{"OutcrierDown"}, aNodeStops},
		{"no node is a target", []string{"OutcrierDown, absent"}, noTarget},
		{"something else is scraped", []string{"OutcrierNotFollowing, absent"}, somethingElse},
		{"the database stops", []string{"OutcrierNotFollowing", "OutcrierLagging", "OutcrierPartitionsMissing, absent"}, theDatabaseStops},
		{"a clock is wrong", []string{"OutcrierClockWrong"}, aClockIsWrong},
		{"a pooler is between", []string{"OutcrierListenNotHeard"}, aPooler},
		{"a session does not notify", []string{"OutcrierWakeUpsLost"}, noNotification},
		{"the notification queue is full", []string{"OutcrierNotificationQueueFills", "OutcrierWakeUpsLost"}, aFullQueue},
		{"a transaction stays open", []string{"OutcrierTransactionStaysOpen"}, anOpenTransaction},
		{"no partition is made", []string{"OutcrierPartitionsMissing"}, noPartition},
		{"today has no partition", []string{"OutcrierDefaultPartitionFills"}, noPartitionToday},
		{"a scheduled event can't be stored", []string{"OutcrierScheduleLate", "OutcrierScheduledEventFails"}, aScheduledEventFails},
		{"readers take nothing", []string{"OutcrierStreamsStall"}, readersTakeNothing},
		{"the outbox is another one", []string{"OutcrierGaps"}, anotherHistory},
		{"replays wait for the pool", []string{"OutcrierReplaysWait"}, replaysWait},
		{"the database does not answer in time", []string{"OutcrierReplaysWait, absent"}, noAnswerInTime},
		{"the audit is refused", []string{"OutcrierAuditDropped"}, theAuditIsRefused},
		{"the JWKS can't be fetched", []string{"OutcrierKeysOld"}, noJWKS},
	}
	var provoked []string
	// More at a time than there are processors: they wait most of the time.
	var running errgroup.Group
	running.SetLimit(6)
	for _, state := range states {
		provoked = append(provoked, state.rules...)
		running.Go(func() error {
			t.Run(state.name, func(t *testing.T) {
				h := &history{t: t, rules: state.rules, every: 30 * time.Second}
				state.provoke(h)
				h.check()
			})
			return nil
		})
	}
	_ = running.Wait()
	rules := regexp.MustCompile(`(?s)- alert: (\w+)\n.*?labels: \{ severity: \w+(?:(, )kind: (\w+))? \}`).FindAllStringSubmatch(string(must(os.ReadFile(rulesFile))), -1)
	if want := strings.Count(string(must(os.ReadFile(rulesFile))), "- alert: "); len(rules) != want {
		t.Fatalf("%d of %d rules are found", len(rules), want)
	}
	for _, rule := range rules {
		if name := rule[1] + rule[2] + rule[3]; !slices.Contains(provoked, name) {
			t.Errorf("no state is provoked in which %s fires", name)
		}
	}
}

// node runs a node on a database of its own until the test ends.
func (h *history) node(args ...string) *served {
	h.t.Helper()
	s := serve(h.t, nil, append([]string{"--dev"}, args...)...)
	h.url = "http://" + s.address
	return s
}

// database returns a connection to a database for the node.
func (h *history) database() (url string, conn *pgx.Conn) {
	h.t.Helper()
	url = outboxtest.URL(h.t)
	return url, h.connect(url)
}

func (h *history) connect(url string) *pgx.Conn {
	h.t.Helper()
	conn := must(pgx.Connect(h.t.Context(), url))
	h.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (h *history) exec(conn *pgx.Conn, statement string, args ...any) {
	h.t.Helper()
	if _, err := conn.Exec(h.t.Context(), statement, args...); err != nil {
		h.t.Fatalf("%v: %s", err, statement)
	}
}

// postgres is one of its own, with a clock that can be set.
func (h *history) postgres() (server *pgserver.Server, set func(offset string)) {
	h.t.Helper()
	library, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if library == nil {
		if os.Getenv("CI") != "" {
			h.t.Fatal("CI is set, but libfaketime is not installed")
		}
		h.t.Skip("libfaketime is not installed")
	}
	dir := must(os.MkdirTemp("/tmp", "outcrier-clock-"))
	h.t.Cleanup(func() { os.RemoveAll(dir) })
	must(0, os.Chmod(dir, 0o755))
	clock := filepath.Join(dir, "clock")
	set = func(offset string) { must(0, os.WriteFile(clock, []byte(offset+"\n"), 0o644)) }
	set("+0")
	server = must(pgserver.Start(h.t.Context(), pgserver.Config{Settings: map[string]string{"fsync": "off"}, Env: []string{
		"LD_PRELOAD=" + library[0], "FAKETIME_TIMESTAMP_FILE=" + clock, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1",
	}}))
	h.t.Cleanup(func() { _ = server.Stop() })
	must(0, (migrations.Migrations{URL: server.URL("")}).Up(h.t.Context()))
	return server, set
}

func aNodeStops(h *history) {
	h.t.Run("one", func(t *testing.T) {
		node := *h
		node.t = t
		node.node()
		node.last(5*time.Minute, following)
		h.url, h.scrapes = node.url, node.scrapes
	})
	h.quiet()
	h.last(5*time.Minute, func(s samples) bool { return s.of("up") == 0 })
	h.fire()
	h.node()
	h.last(5*time.Minute, following)
	h.quiet()
}

func noTarget(h *history) {
	h.node()
	h.last(5*time.Minute, following)
	h.quiet()
	for range 20 {
		h.scrapes = append(h.scrapes, samples{})
	}
	h.fire()
	h.last(5*time.Minute, following)
	h.quiet()
}

func somethingElse(h *history) {
	h.node()
	h.last(5*time.Minute, following)
	h.quiet()
	node := h.url
	other := httptest.NewServer(promhttp.Handler())
	defer other.Close()
	h.url = other.URL
	h.last(5*time.Minute, func(s samples) bool { return s.of("up") == 1 })
	h.fire()
	h.url = node
	h.last(5*time.Minute, following)
	h.quiet()
}

func theDatabaseStops(h *history) {
	server, _ := h.postgres()
	h.node("--database-url", server.URL(""))
	h.last(5*time.Minute, following)
	h.quiet()
	must(0, server.Kill())
	h.last(20*time.Minute, func(s samples) bool {
		return s.of("outcrier_tail_state", `state="following"`) == 0 && s.of("outcrier_tail_lag_seconds") > 5 && s.of("outcrier_database_answers") == 0
	})
	h.fire()
	must(0, server.Restart(h.t.Context()))
	h.last(5*time.Minute, following)
	h.quiet()
}

func aClockIsWrong(h *history) {
	server, setClock := h.postgres()
	h.node("--database-url", server.URL(""))
	conn := h.connect(server.URL(""))
	// A tail compares the clocks when it connects, and every five minutes.
	set := func(offset string) {
		setClock(offset)
		h.exec(conn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'outcrier' AND pid <> pg_backend_pid()`)
	}
	right := func(s samples) bool { return following(s) && math.Abs(s.of("outcrier_clock_difference_seconds")) < 5 }
	h.last(5*time.Minute, right)
	h.quiet()
	set("+30s")
	h.last(10*time.Minute, func(s samples) bool { return s.of("outcrier_clock_difference_seconds") > 5 })
	h.fire()
	set("+0")
	h.last(5*time.Minute, right)
	h.quiet()
}

func aPooler(h *history) {
	url, _ := h.database()
	h.t.Run("pooled", func(t *testing.T) {
		node := *h
		node.t = t
		node.node("--database-url", url, "--direct-url", bouncer(t, url))
		node.last(30*time.Second, func(s samples) bool { return s.of("outcrier_tail_state", `state="following"`) == 1 })
		node.quiet()
		node.last(5*time.Minute, func(s samples) bool {
			return s.of("outcrier_tail_state", `state="following"`) == 1 && s.of("outcrier_listen_state", `state="pooler"`) == 1
		})
		node.fire()
		h.scrapes, h.tests = node.scrapes, node.tests
	})
	// As the runbook says: with a direct URL.
	h.node("--database-url", url)
	h.last(5*time.Minute, func(s samples) bool { return following(s) && s.of("outcrier_listen_state", `state="works"`) == 1 })
	h.quiet()
}

func noNotification(h *history) {
	url, conn := h.database()
	h.node("--database-url", url)
	h.last(5*time.Minute, func(s samples) bool { return following(s) && s.of("outcrier_listen_state", `state="works"`) == 1 })
	h.quiet()
	h.exec(conn, `SET outcrier.notify = 'off'`)
	// Each is found before the next one comes: of events that flow, nobody notifies.
	delivered := 0.
	h.last(time.Minute, func(s samples) bool {
		if s.of("outcrier_tail_events_total") == delivered {
			h.exec(conn, `INSERT INTO outbox (topic, type) VALUES ('a', 'test.silent')`)
			delivered++
		}
		return s.of("outcrier_tail_caught_events_total") > 0
	})
	h.fire()
	h.last(20*time.Minute, following)
	h.quiet()
}

func aFullQueue(h *history) {
	server := testkit.SmallQueue(h.t)
	url := server.URL("")
	must(0, (migrations.Migrations{URL: url}).Up(h.t.Context()))
	h.node("--database-url", url)
	heard := func(s samples) bool {
		return following(s) && s.of("outcrier_listen_state", `state="works"`) == 1 && s.of("outcrier_notification_queue_usage") < 0.1
	}
	h.last(5*time.Minute, heard)
	h.quiet()
	pool := outboxtest.Pool(h.t, url)
	var free func()
	// The node's own test of LISTEN may find the queue full before an event does: then again.
	for {
		free = testkit.FillQueue(h.t, url, 1)
		must(pool.Exec(h.t.Context(), `INSERT INTO outbox (topic, type) VALUES ('a', 'test.silent')`))
		var s samples
		eventually(h.t, func() bool { s = h.scrape(); return s.of("outcrier_listen_state", `state="queue_full"`) == 1 })
		if s.of("outcrier_tail_caught_events_total") > 0 {
			break
		}
		free()
		eventually(h.t, func() bool { return heard(h.scrape()) })
	}
	h.last(10*time.Minute, func(s samples) bool { return following(s) && s.of("outcrier_notification_queue_usage") >= 0.5 })
	h.fire()
	free()
	h.last(20*time.Minute, heard)
	h.quiet()
}

func anOpenTransaction(h *history) {
	h.stretch = 60
	url, conn := h.database()
	h.node("--database-url", url)
	none := func(s samples) bool {
		return s.of("outcrier_database_answers") == 1 && s.of("outcrier_in_flight_oldest_seconds") == 0
	}
	h.last(5*time.Minute, none)
	h.quiet()
	h.exec(conn, `BEGIN`)
	h.exec(conn, `INSERT INTO outbox (topic, type) VALUES ('a', 'test.late')`)
	h.last(5*time.Minute, func(s samples) bool { return s.of("outcrier_in_flight_oldest_seconds") > 300 })
	h.fire()
	h.exec(conn, `COMMIT`)
	h.last(5*time.Minute, none)
	h.quiet()
}

// holdPartitions keeps nodes from making partitions, as another session at work does.
func (h *history) holdPartitions(url string) (release func()) {
	holder := h.connect(url)
	h.exec(holder, `BEGIN`)
	eventually(h.t, func() (claimed bool) {
		must(0, holder.QueryRow(h.t.Context(), `SELECT outcrier.claim('partitions')`).Scan(&claimed))
		return claimed
	})
	return func() { h.exec(holder, `ROLLBACK`) }
}

const dropPartitionsSQL = `
DO $$ DECLARE p record; BEGIN
	FOR p IN SELECT partition FROM outcrier.partitions() WHERE ends > now() + $1 LOOP EXECUTE format('DROP TABLE %s', p.partition::regclass); END LOOP;
END $$`

func (h *history) dropPartitions(conn *pgx.Conn, endsAfter string) {
	h.t.Helper()
	h.exec(conn, strings.Replace(dropPartitionsSQL, "$1", "interval '"+endsAfter+"'", 1))
}

func noPartition(h *history) {
	url, conn := h.database()
	h.node("--database-url", url)
	made := func(s samples) bool { return s.of("outcrier_partitions_ahead") >= 1 }
	h.last(5*time.Minute, made)
	h.quiet()
	release := h.holdPartitions(url)
	h.dropPartitions(conn, "1 day")
	h.last(20*time.Minute, func(s samples) bool { return s.of("outcrier_partitions_ahead") < 1 })
	h.fire()
	release()
	h.makePartitions(conn, "0")
	h.last(5*time.Minute, made)
	h.quiet()
}

// makePartitions does what a node does within a minute, or a time later.
func (h *history) makePartitions(conn *pgx.Conn, later string) {
	h.t.Helper()
	for made := new(string); made != nil; {
		must(0, conn.QueryRow(h.t.Context(), `SELECT outcrier.add_partition('7 days', now() + $1::interval)`, later).Scan(&made))
	}
}

func noPartitionToday(h *history) {
	h.every = 4 * time.Minute // a series without a sample for five minutes is gone
	url, conn := h.database()
	h.node("--database-url", url)
	none := func(s samples) bool { return s.of("outcrier_default_partition_rows") == 0 }
	h.last(5*time.Minute, none)
	h.quiet()
	release := h.holdPartitions(url)
	h.exec(conn, `BEGIN`)
	h.dropPartitions(conn, "0")
	h.exec(conn, `INSERT INTO outbox (topic, type) VALUES ('a', 'test.added')`)
	h.exec(conn, `COMMIT`)
	release()
	h.last(26*time.Hour, func(s samples) bool { return s.of("outcrier_default_partition_rows") > 0 })
	h.fire()
	h.makePartitions(conn, "1 day")
	h.last(5*time.Minute, none)
	h.quiet()
}

func aScheduledEventFails(h *history) {
	url, conn := h.database()
	h.node("--database-url", url)
	none := func(s samples) bool {
		return s.of("outcrier_scheduled_failing_events") == 0 && s.of("outcrier_scheduled_overdue_seconds") == 0
	}
	h.last(5*time.Minute, none)
	h.quiet()
	h.exec(conn, `
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no such thing''; END';
CREATE TRIGGER refuse BEFORE INSERT ON outcrier.event FOR EACH ROW WHEN (NEW.type = 'test.refused') EXECUTE FUNCTION refuse();
INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('a', 'test.refused', '{}', '/', now())`)
	h.last(5*time.Minute, func(s samples) bool {
		return s.of("outcrier_scheduled_failing_events") > 0 && s.of("outcrier_scheduled_overdue_seconds") > 10
	})
	h.fire()
	h.exec(conn, `DROP TRIGGER refuse ON outcrier.event`)
	h.last(5*time.Minute, none)
	h.quiet()
}

func readersTakeNothing(h *history) {
	s := h.node("--h2c", "--stall", "1s")
	ended := func(s samples) float64 { return s.of("outcrier_streams_ended_total", `reason="stalled"`) }
	h.last(5*time.Minute, func(s samples) bool { return ended(s) == 0 })
	h.quiet()
	// Three times as many within ten minutes as one in five seconds.
	for round := 1.0; round <= 3; round++ {
		for range 3 {
			deaf := must(badnet.DialDeaf(h.t.Context(), s.address))
			h.t.Cleanup(func() { _ = deaf.Close() })
			for range 50 {
				must(0, deaf.Get("/events?topic=a", "accept", "text/event-stream"))
			}
		}
		h.last(200*time.Second, func(s samples) bool { return ended(s) >= 150*round })
	}
	h.fire()
	h.last(10*time.Minute, func(s samples) bool { return ended(s) >= 450 })
	h.quiet()
}

// poll returns the position of a poll's answer, or nothing.
func (h *history) poll(query string) (position string) {
	h.t.Helper()
	request := must(http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.url+"/events?topic=a&wait=0"+query, nil))
	request.Header.Set("Accept", "application/json")
	response := must(http.DefaultClient.Do(request)) //nolint:bodyclose // below
	defer response.Body.Close()
	found := regexp.MustCompile(`"position":"([^"]+)"`).FindSubmatch(must(io.ReadAll(response.Body)))
	if response.StatusCode != http.StatusOK || found == nil {
		return ""
	}
	return string(found[1])
}

func anotherHistory(h *history) {
	url, conn := h.database()
	h.node("--database-url", url)
	h.exec(conn, `INSERT INTO outbox (topic, type) VALUES ('a', 'test.added')`)
	h.last(5*time.Minute, following)
	h.quiet()
	before := h.poll("&from=earliest")
	if before == "" {
		h.t.Fatal("a poll has no position")
	}
	h.exec(conn, `SELECT outcrier.reset()`)
	h.last(time.Minute, func(s samples) bool {
		h.poll("&last_event_id=" + before)
		return s.of("outcrier_gaps_total", `reason="other_history"`) > 15
	})
	h.fire()
	h.last(15*time.Minute, following)
	h.quiet()
}

func replaysWait(h *history) {
	url, conn := h.database()
	h.exec(conn, `INSERT INTO outbox (topic, type) VALUES ('a', 'test.added')`)
	h.node("--database-url", url, "--pool", "4")
	h.last(5*time.Minute, following)
	h.quiet()
	// Those that read the table wait for a lock, and the others for their turn.
	h.exec(conn, `BEGIN; LOCK TABLE outcrier.event`)
	ctx, stop := context.WithCancel(h.t.Context())
	var reading sync.WaitGroup
	defer reading.Wait()
	defer stop()
	for range 40 {
		reading.Go(func() {
			request := must(http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/events?topic=a&from=earliest", nil))
			request.Header.Set("Accept", "text/event-stream")
			if response, err := http.DefaultClient.Do(request); err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
		})
	}
	h.last(10*time.Minute, func(s samples) bool { return s.of("outcrier_replays_waiting") > 10 })
	h.fire()
	h.exec(conn, `ROLLBACK`)
	h.last(5*time.Minute, func(s samples) bool { return following(s) && s.of("outcrier_replays_waiting") == 0 })
	h.quiet()
}

func noAnswerInTime(h *history) {
	url, conn := h.database()
	h.node("--database-url", url)
	h.last(5*time.Minute, following)
	h.quiet()
	h.exec(conn, `BEGIN; LOCK TABLE outcrier.scheduled`)
	h.last(10*time.Minute, func(s samples) bool {
		return s.of("outcrier_database_answers") == 0 && s.of("outcrier_tail_state", `state="following"`) == 1
	})
	h.fire()
	h.exec(conn, `ROLLBACK`)
	h.last(5*time.Minute, following)
	h.quiet()
}

func theAuditIsRefused(h *history) {
	url, conn := h.database()
	s := h.node("--database-url", url, "--audit")
	h.last(5*time.Minute, func(s samples) bool { return s.of("outcrier_audit_dropped_streams_total") == 0 })
	h.quiet()
	h.exec(conn, `INSERT INTO outbox (topic, type) VALUES ('a', 'test.added')`)
	h.exec(conn, `ALTER TABLE outcrier.stream ADD CONSTRAINT none CHECK (false) NOT VALID`)
	h.last(time.Minute, func(samples samples) bool {
		request := must(http.NewRequestWithContext(h.t.Context(), http.MethodGet, "http://"+s.address+"/events?topic=a&wait=0&from=earliest", nil))
		request.Header.Set("Accept", "application/json")
		response := must(http.DefaultClient.Do(request)) //nolint:bodyclose // below
		response.Body.Close()
		return samples.of("outcrier_audit_dropped_streams_total") > 0
	})
	h.fire()
	h.exec(conn, `ALTER TABLE outcrier.stream DROP CONSTRAINT none`)
	h.last(20*time.Minute, following)
	h.quiet()
}

func noJWKS(h *history) {
	var there atomic.Bool
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !there.Load() {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"keys":[]}`)
	}))
	defer issuer.Close()
	s := serve(h.t, nil, "--jwks-url", issuer.URL, "--metrics", "open")
	h.url = "http://" + s.address
	h.last(time.Minute, func(s samples) bool { return s.of("outcrier_jwks_failures_total") >= 0 })
	h.quiet()
	failed := h.scrape().of("outcrier_jwks_failures_total")
	h.last(10*time.Minute, func(s samples) bool {
		return s.of("outcrier_jwks_failures_total") > failed && s.of("outcrier_jwks_age_seconds") > 3600
	})
	h.fire()
	there.Store(true)
	h.last(5*time.Minute, func(s samples) bool { return s.of("outcrier_jwks_age_seconds") < 3600 })
	h.quiet()
}
