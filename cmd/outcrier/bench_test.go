package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
		{[]string{"--only", "writers,speed"}, `"writers,speed": want writers, latency, fanout, idle, replay, storm or tail`},
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
