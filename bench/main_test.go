package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// TestMain lets the test binary be the bare server that a bench starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == bareName {
		main()
		return
	}
	os.Exit(m.Run())
}

// tiny are sizes at which a bench takes seconds, and says nothing of speed.
var tiny = []string{
	"--runs", "1", "--seconds", "0.1", "--writers", "2", "--streams", "5,20", "--rate", "50", "--settle", "0s",
	"--held", "1500", "--missed", "500", "--backlog", "1000", "--outbox", "4000", "--beside", "3", "--hostile", "9", "--log-level", "warn",
}

func none(string) string { return "" }

func TestBench_MeasuresEverythingAndLosesNothing(t *testing.T) {
	url := outboxtest.URL(t)
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), append(slices.Clone(tiny), "--json", "--database-url", url), none, &stdout, &stderr)
	if code != exitDone {
		t.Fatalf("exit code %d:\n%s\n%s", code, &stderr, &stdout)
	}
	var report Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("%v:\n%s", err, &stdout)
	}
	deliveries := map[string]int64{}
	for _, f := range report.Figures {
		// Elsewhere there is no CPU time, and a note that says so.
		if len(f.Runs) == 0 && (runtime.GOOS == "linux" || f.Note == "") {
			t.Errorf("%s, %s, %s was not measured: %s", f.Measure, f.Variant, f.Name, f.Note)
		}
		if f.Count != nil {
			deliveries[f.Measure] += f.Count.Deliveries
			if f.Count.Lost != 0 || f.Count.Repeated != 0 {
				t.Errorf("%s, %s, %s: %+v", f.Measure, f.Variant, f.Name, *f.Count)
			}
		}
	}
	for _, measure := range measureNames {
		if deliveries[measure] == 0 {
			t.Errorf("nothing was delivered for %s", measure)
		}
	}
	if !report.Server.Own || report.Server.PID == 0 || report.Machine.Postgres == "" {
		t.Errorf("measured %+v on %+v, want a server of its own", report.Server, report.Machine)
	}

	const scratchSQL = `SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'outcrier_bench_%'`
	var left int
	if err := outboxtest.Pool(t, url).QueryRow(t.Context(), scratchSQL).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d scratch schemas are left, error %v", left, err)
	}
}

func TestSettings_ListsAreSeparatedByCommasOrRepeated(t *testing.T) {
	for _, args := range [][]string{
		{"--writers", "8,64", "--only", "writers,tail"},
		{"--writers", "8", "--writers", "64", "--only", "writers", "--only", "TAIL"},
	} {
		s, err := parse(args, none, t.Output())
		if err != nil || !slices.Equal(s.Writers, []int{8, 64}) || !slices.Equal(s.Only, []string{"writers", "tail"}) {
			t.Errorf("%q: writers %v, only %q, error %v", args, s.Writers, s.Only, err)
		}
		if !slices.Equal(s.Streams, []int{1000, 10_000}) {
			t.Errorf("%q: streams by default are %v", args, s.Streams)
		}
	}
}

func TestSettings_EachMistakeNamesWhatIsAllowed(t *testing.T) {
	const dsn = "postgres://user:password@host/name"
	for _, tt := range []struct {
		args []string
		want string // "" for no mistake
	}{
		{nil, ""},
		{[]string{"--sync-delay", "1ms"}, ""},
		{[]string{"--url", "http://h:8080", "--database-url", dsn, "--server-pid", "7", "--token", "t"}, ""},
		{[]string{"--url", "http://h:8080"}, "--database-url: has to be given"},
		{[]string{"--url", "h:8080", "--database-url", dsn}, "--url: want http://host:port"},
		{[]string{"--server-pid", "7"}, "--server-pid: needs --url"},
		{[]string{"--sync-delay", "1ms", "--database-url", dsn}, "want no --database-url"},
		{[]string{"--only", "writers,speed"}, "want writers, way, work, latency, fanout, idle, replay, storm, hostile, tail"},
		{[]string{"--writers", "8,0"}, "--writers: want 1 to 250"},
		{[]string{"--writers", "8,many"}, "want whole numbers"},
		{[]string{"--payload", "99"}, "--payload: want 100 to 65536"},
		{[]string{"--seconds", "0", "--runs", "0"}, "--runs: want 1 to 100\n--seconds: want 0.1 to 600"},
		{[]string{"--held", "100", "--missed", "101"}, "--missed: want at most --held, 100"},
		{[]string{"fanout"}, `unexpected argument "fanout"`},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			_, err := parse(tt.args, none, t.Output())
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("error %q, want none", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
