package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings is what the command line says.
type settings struct {
	Config
	outcrier string // the command to start servers with, "" to build it
	json     bool
	logLevel slog.Level
}

const usage = `Usage: outcrier-bench [flags]

Measures what the outbox costs its writers, and how soon, how cheaply and how
completely events reach streams. Each figure is printed with what was lost and
repeated on the way; with anything but 0 the command fails.

Without a database URL it brings up a private Postgres and throws it away, and
without --url a server of its own, with the defaults of its settings. On a
database that is given it appends events, on topics that begin with bench/, which
stay until retention removes them, and makes a schema named outcrier_bench_…,
which it drops again; a server of its own migrates that database.

--database-url, --url and --token are read from OUTCRIER_DATABASE_URL or
DATABASE_URL, OUTCRIER_URL and OUTCRIER_TOKEN too. The report's JSON is for
programs: its fields are not renamed.

Flags:
`

// measureNames are in the order of the help.
var measureNames = []string{"writers", "way", "work", "latency", "fanout", "idle", "replay", "storm", "hostile", "tail", "fair"}

// parse reads the command line. Its error holds all mistakes, not only the first.
func parse(args []string, getenv func(string) string, stderr io.Writer) (settings, error) {
	s := settings{Config: Config{Format: "cloudevents", Sizes: Sizes{Writers: []int{8, 16, 32, 64}, Streams: []int{1000, 10_000}}}}
	flags := flag.NewFlagSet("outcrier-bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&s.DatabaseURL, "database-url", cmp.Or(getenv("OUTCRIER_DATABASE_URL"), getenv("DATABASE_URL")),
		"a Postgres `database` whose outbox may get events of the bench; by default a private one")
	flags.StringVar(&s.URL, "url", getenv("OUTCRIER_URL"), "a `server` on that database, like http://127.0.0.1:8080; by default one of the bench's own")
	flags.StringVar(&s.Token, "token", getenv("OUTCRIER_TOKEN"), "a bearer `token` for the server at --url")
	flags.IntVar(&s.ServerPID, "server-pid", 0, "the `process` of the server at --url, when it is on this machine, for its CPU and memory")
	flags.StringVar(&s.outcrier, "outcrier", "", "the `command` outcrier to measure; by default it is built from this repository, or else looked for in PATH")
	flags.Var(&nameList{of: measureNames, list: &s.Only}, "only", "what to measure: `measures` of "+strings.Join(measureNames, ", ")+"; everything by default")
	flags.StringVar(&s.Format, "format", s.Format, "the `form` of the events that the streams ask for, cloudevents or payload")
	flags.BoolVar(&s.WebSocket, "websocket", false, "read the streams by WebSocket in place of Server-Sent Events")
	flags.DurationVar(&s.SyncDelay, "sync-delay", 0, "how much longer each sync of the private Postgres takes, for a disk that is honest")
	flags.StringVar(&s.Centrifugo, "centrifugo", "", "the `path` of Centrifugo's program, for way to compare its outbox consumer with ours")
	flags.BoolVar(&s.json, "json", false, "print the report as JSON in place of the table")
	flags.TextVar(&s.logLevel, "log-level", slog.LevelInfo, "the least severe `level` that is logged: debug, info, warn or error")

	flags.IntVar(&s.Runs, "runs", 3, "how often each measure is repeated")
	flags.Float64Var(&s.Seconds, "seconds", 10, "how long each timed round of a measure lasts")
	flags.IntVar(&s.Payload, "payload", 200, "the size of a payload in `bytes`")
	flags.Var(&numberList{list: &s.Writers}, "writers", "the `numbers` of concurrent writers; three times as many sessions are open at once")
	flags.Var(&numberList{list: &s.Streams}, "streams", "the `numbers` of streams of fanout; idle and storm take the largest")
	flags.Float64Var(&s.Rate, "rate", 20, "the pace of fanout in events per second")
	flags.Float64Var(&s.LatencyRate, "latency-rate", 50, "the pace of latency in events per second")
	flags.Float64Var(&s.StormRate, "storm-rate", 200, "the pace of storm in events per second")
	flags.IntVar(&s.Nodes, "nodes", 3, "how many nodes follow the outbox in work, for what a further one costs Postgres")
	flags.IntVar(&s.Beside, "beside", 0, "the idle streams that are open during latency")
	flags.DurationVar(&s.Settle, "settle", 31*time.Second, "how long idle streams are left alone before memory is read; the default is two heartbeats")
	flags.IntVar(&s.Held, "held", 1_000_000, "the events that replay finds in the outbox")
	flags.IntVar(&s.Missed, "missed", 100_000, "how many of them the stream of replay has missed")
	flags.IntVar(&s.Backlog, "backlog", 300_000, "the events that tail takes in at once")
	flags.IntVar(&s.Outbox, "outbox", 2_400_000, "the events that fair finds in the outbox")
	flags.IntVar(&s.Hostile, "hostile", 2000, "the readers of hostile that read nothing, or a byte a second, or vanish")
	flags.Usage = func() {}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stderr, usage)
			flags.SetOutput(stderr)
			flags.PrintDefaults()
		}
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return s, s.check()
}

func (s settings) check() error {
	var mistakes []error
	reject := func(is bool, format string, args ...any) {
		if is {
			mistakes = append(mistakes, fmt.Errorf(format, args...))
		}
	}
	between := func(flag string, value, least, most float64) {
		reject(!(value >= least && value <= most), "--%s: want %v to %v", flag, least, most)
	}
	server, err := url.Parse(s.URL)
	reject(s.URL != "" && (err != nil || server.Host == "" || server.Scheme != "http" && server.Scheme != "https"),
		"--url: want http://host:port or https://host:port")
	reject(s.URL != "" && s.DatabaseURL == "", "--database-url: has to be given with --url")
	reject(s.URL == "" && s.ServerPID != 0, "--server-pid: needs --url")
	reject(s.URL != "" && s.outcrier != "", "--outcrier: want none with --url")
	reject(s.SyncDelay > 0 && s.DatabaseURL != "", "--sync-delay: is for the private Postgres, want no --database-url (DATABASE_URL)")
	reject(s.Missed > s.Held, "--missed: want at most --held, %d", s.Held)
	reject(!slices.Contains([]string{"cloudevents", "payload"}, s.Format), "--format: want cloudevents or payload")
	between("server-pid", float64(s.ServerPID), 0, 1<<22)
	between("sync-delay", s.SyncDelay.Seconds(), 0, 0.1)
	between("runs", float64(s.Runs), 1, 100)
	between("seconds", s.Seconds, 0.1, 600)
	between("payload", float64(s.Payload), leastPayload, 65536)
	between("writers", float64(slices.Min(s.Writers)), 1, 250)
	between("writers", float64(slices.Max(s.Writers)), 1, 250)
	between("streams", float64(slices.Min(s.Streams)), 1, 200_000)
	between("streams", float64(slices.Max(s.Streams)), 1, 200_000)
	between("rate", s.Rate, 0.1, 10_000)
	between("latency-rate", s.LatencyRate, 0.1, 1000)
	between("storm-rate", s.StormRate, 0.1, 10_000)
	between("nodes", float64(s.Nodes), 1, 50)
	between("beside", float64(s.Beside), 0, 200_000)
	between("settle", s.Settle.Seconds(), 0, 600)
	between("held", float64(s.Held), 100, 5e7)
	between("missed", float64(s.Missed), 1, 1e7)
	between("backlog", float64(s.Backlog), 100, 1e7)
	between("outbox", float64(s.Outbox), 4000, 5e7)
	between("hostile", float64(s.Hostile), 1, 100_000)
	return errors.Join(mistakes...)
}

// nameList is a flag of words of a list, separated by commas or repeated.
type nameList struct {
	of   []string
	list *[]string
}

func (n *nameList) String() string { return "" }

func (n *nameList) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.ToLower(word); !slices.Contains(n.of, word) {
			return fmt.Errorf("want %s", strings.Join(n.of, ", "))
		}
		*n.list = append(*n.list, word)
	}
	return nil
}

// numberList is a flag of whole numbers, separated by commas or repeated.
type numberList struct {
	list  *[]int
	given bool // so that the default goes
}

func (n *numberList) String() string {
	if n.list == nil {
		return ""
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(*n.list), " ", ","), "[]")
}

func (n *numberList) Set(text string) error {
	if !n.given {
		*n.list, n.given = nil, true
	}
	for word := range strings.SplitSeq(text, ",") {
		number, err := strconv.Atoi(word)
		if err != nil {
			return errors.New("want whole numbers, separated by commas")
		}
		*n.list = append(*n.list, number)
	}
	return nil
}
