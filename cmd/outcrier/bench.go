package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/outcrier/outcrier/internal/bench"
)

// benchConfig is the settings of "outcrier bench".
type benchConfig struct {
	ConnectionSettings
	URL        string        `flag:"url" secret:"true" help:"a server on that database, like http://127.0.0.1:8080; by default one of the bench's own"`
	Token      string        `flag:"token" secret:"true" help:"a bearer token for the server at --url"`
	ServerPID  int           `flag:"server-pid" allow:"0..4194304" default:"0" help:"the process of the server at --url, when it is on this machine, for its CPU and memory"`
	Only       []string      `flag:"only" allow:"writers|latency|fanout|idle|replay|storm|hostile|tail" help:"what to measure; everything by default"`
	Format     string        `flag:"format" default:"cloudevents" allow:"cloudevents|payload" help:"the form of the events that the streams ask for"`
	SyncDelay  time.Duration `flag:"sync-delay" default:"0s" allow:"0s..100ms" help:"how much longer each sync of the private Postgres takes, for a disk that is honest"`
	Centrifugo string        `flag:"centrifugo" help:"the path of Centrifugo's program, for writers to compare its outbox consumer with ours"`
	JSON       bool          `flag:"json" help:"print the report as JSON in place of the table"`
	BenchSizes
	LogSettings
}

// BenchSizes is bench.Sizes as settings.
type BenchSizes struct {
	Runs        int           `flag:"runs" default:"3" allow:"1..100" help:"how often each measure is repeated"`
	Seconds     float64       `flag:"seconds" default:"10" allow:"0.1..600" help:"how long each timed round of a measure lasts"`
	Payload     int           `flag:"payload" default:"200" allow:"100..65536" help:"the size of a payload in bytes"`
	Writers     []int         `flag:"writers" default:"8,16,32,64" allow:"1..250" help:"the numbers of concurrent writers; three times as many sessions are open at once"`
	Streams     []int         `flag:"streams" default:"1000,10000" allow:"1..200000" help:"the numbers of streams of fanout; idle and storm take the largest"`
	Rate        float64       `flag:"rate" default:"20" allow:"0.1..10000" help:"the pace of fanout in events per second"`
	LatencyRate float64       `flag:"latency-rate" default:"50" allow:"0.1..1000" help:"the pace of latency in events per second"`
	StormRate   float64       `flag:"storm-rate" default:"200" allow:"0.1..10000" help:"the pace of storm in events per second"`
	Beside      int           `flag:"beside" default:"0" allow:"0..200000" help:"the idle streams that are open beside that of latency"`
	Settle      time.Duration `flag:"settle" default:"31s" allow:"0s..10m" help:"how long idle streams are left alone before memory is read; the default is two heartbeats"`
	Held        int           `flag:"held" default:"1000000" allow:"100..50000000" help:"the events that replay finds in the outbox"`
	Missed      int           `flag:"missed" default:"100000" allow:"1..10000000" help:"how many of them the stream of replay has missed"`
	Backlog     int           `flag:"backlog" default:"300000" allow:"100..10000000" help:"the events that tail takes in at once"`
	Hostile     int           `flag:"hostile" default:"2000" allow:"1..100000" help:"the readers of hostile that read nothing, or a byte a second, or vanish"`
}

func benchCommand(p process) *cobra.Command {
	cmd := newCommand(p, "bench", "Measure a server and its Postgres, and count what is lost or repeated", runBench)
	cmd.Long = `Measures what the outbox costs its writers, and how soon, how cheaply and how
completely events reach streams. Each figure is printed with what was lost and
repeated on the way; with anything but 0 the command fails.

Without a database URL it brings up a private Postgres and throws it away, and
without --url a server of its own, with the defaults of its settings. On a
database that is given it appends events, on topics that begin with bench/, which
stay until retention removes them, and makes a schema named outcrier_bench_…,
which it drops again; a server of its own migrates that database.

The report's JSON is for programs: its fields are not renamed.`
	return cmd
}

func (c *benchConfig) check(r *report) {
	c.ConnectionSettings.check(r)
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err != nil || u.Host == "" || !slices.Contains([]string{"http", "https"}, u.Scheme) {
			r.reject("url", "want http://host:port or https://host:port")
		}
		r.require("database-url", c.DatabaseURL)
	}
	if c.URL == "" {
		if c.Token != "" {
			r.reject("token", "needs --url beside it")
		}
		if c.ServerPID != 0 {
			r.reject("server-pid", "needs --url beside it")
		}
	}
	if c.SyncDelay > 0 && c.DatabaseURL != "" {
		r.reject("sync-delay", "is for the private Postgres, want no --database-url (DATABASE_URL) beside it")
	}
	if c.Missed > c.Held && !r.rejected("held") {
		r.reject("missed", "want at most --held, %d", c.Held)
	}
}

func runBench(ctx context.Context, p process, c benchConfig) error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	progress := newProgress(p.stderr, p.environ)
	defer progress.end()
	report, err := bench.Run(ctx, bench.Config{
		Only: c.Only, DatabaseURL: c.DatabaseURL, URL: c.URL, Token: c.Token, ServerPID: c.ServerPID,
		Command: []string{executable, "serve"}, BareCommand: []string{executable, "bench-bare"}, Format: c.Format, SyncDelay: c.SyncDelay, Centrifugo: c.Centrifugo,
		Sizes: bench.Sizes(c.BenchSizes), Log: c.logger(progress), Progress: progress.say,
	})
	if err != nil && len(report.Figures) == 0 {
		return err
	}
	return errors.Join(err, c.print(p.stdout, report))
}

// bareConfig is the settings of "outcrier bench-bare", which a bench starts.
type bareConfig struct {
	ConnectionSettings
	Schema string `flag:"schema" help:"the scratch schema of the bench"`
	Listen string `flag:"listen" default:"127.0.0.1:0" help:"the address to serve on"`
	LogSettings
}

func (c *bareConfig) check(r *report) {
	c.ConnectionSettings.check(r)
	r.require("database-url", c.DatabaseURL)
	r.require("schema", c.Schema)
}

// bareCommand is for the bench alone.
func bareCommand(p process) *cobra.Command {
	cmd := newCommand(p, "bench-bare", "Serve as little as a bench compares with", func(ctx context.Context, p process, c bareConfig) error {
		return bench.Bare(ctx, c.DatabaseURL, c.Schema, c.Listen, p.stdout)
	})
	cmd.Hidden = true
	return cmd
}

var errInexact = errors.New("not all was measured, or something was lost or repeated")

func (c benchConfig) print(w io.Writer, report *bench.Report) error {
	var err error
	if c.JSON {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		err = out.Encode(report)
	} else {
		err = report.WriteTable(w)
	}
	if err == nil && !report.Exact() {
		err = errInexact
	}
	return err
}
