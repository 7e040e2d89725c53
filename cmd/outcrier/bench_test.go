package main

import (
	"encoding/json"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outcrier/outcrier/internal/bench"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// TestMain lets the test binary be the servers that a bench starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "serve" || os.Args[1] == "bench-bare") {
		main()
		return
	}
	os.Exit(m.Run())
}

// tiny are sizes at which a bench takes seconds, and tells nothing of speed.
var tiny = []string{
	"bench", "--runs", "1", "--seconds", "0.1", "--writers", "2", "--streams", "5,20", "--rate", "50", "--settle", "0s",
	"--held", "1500", "--missed", "500", "--backlog", "1000", "--beside", "3", "--hostile", "9", "--log-level", "warn",
}

func TestBench_MeasuresEverythingAndLosesNothing(t *testing.T) {
	url := outboxtest.URL(t)
	got := runWith(t, []string{"DATABASE_URL=" + url}, append(slices.Clone(tiny), "--json")...)
	if got.code != exitDone {
		t.Fatalf("exit code %d:\n%s\n%s", got.code, got.stderr, got.stdout)
	}
	var report bench.Report
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil {
		t.Fatalf("%v:\n%s", err, got.stdout)
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
	for _, measure := range []string{"writers", "latency", "fanout", "idle", "replay", "storm", "hostile", "tail"} {
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

func TestBenchConfig_ListsAreSeparatedByCommas(t *testing.T) {
	for _, args := range [][]string{
		{"--writers", "8,64", "--only", "writers,tail"},
		{"--writers", "8", "--writers", "64", "--only", "writers", "--only", "TAIL"},
	} {
		got := mustLoad[benchConfig](t, nil, args...)
		if diff := cmp.Diff([]int{8, 64}, got.Writers); diff != "" {
			t.Errorf("%q: writers (-want +got):\n%s", args, diff)
		}
		if diff := cmp.Diff([]string{"writers", "tail"}, got.Only); diff != "" {
			t.Errorf("%q: measures (-want +got):\n%s", args, diff)
		}
	}
	got := mustLoad[benchConfig](t, []string{"OUTCRIER_STREAMS=10,20"})
	if diff := cmp.Diff([]int{10, 20}, got.Streams); diff != "" {
		t.Errorf("streams (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{8, 16, 32, 64}, got.Writers); diff != "" {
		t.Errorf("writers by default (-want +got):\n%s", diff)
	}
}

func TestBenchConfig_EachMistakeNamesWhatIsAllowed(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string // "" for no mistake
	}{
		{nil, ""},
		{[]string{"--sync-delay", "1ms"}, ""},
		{[]string{"--url", "http://h:8080", "--database-url", dsn, "--server-pid", "7", "--token", "t"}, ""},
		{[]string{"--url", "http://h:8080"}, "--database-url (OUTCRIER_DATABASE_URL, DATABASE_URL): has to be given"},
		{[]string{"--url", "h:8080", "--database-url", dsn}, "want http://host:port"},
		{[]string{"--server-pid", "7"}, "needs --url beside it"},
		{[]string{"--token", "t"}, "needs --url beside it"},
		{[]string{"--sync-delay", "1ms", "--database-url", dsn}, "want no --database-url"},
		{[]string{"--only", "writers,speed"}, `"writers,speed": want writers, latency, fanout, idle, replay, storm, hostile or tail`},
		{[]string{"--writers", "8,0"}, `"8,0": want 1 to 250`},
		{[]string{"--writers", "8,many"}, "want a whole number, 1 to 250"},
		{[]string{"--payload", "99"}, "want 100 to 65536"},
		{[]string{"--seconds", "0"}, "want 0.1 to 600"},
		{[]string{"--held", "100", "--missed", "101"}, "want at most --held, 100"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			_, err := loaded[benchConfig](t, nil, tt.args...)
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
