package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/handlers"
)

// settings is what the command line and the environment say.
type settings struct {
	listen      string
	listenGiven bool
	origins     []string
	databaseURL string
	data        string // "" with an existing database
	migrate     bool
	traffic     float64
	node        string
	audit, gzip bool

	heartbeat, retry, drain time.Duration
	logLevel                slog.Level
}

// parsed is the code of parse for settings that are right; others end the program.
const parsed = -1

// parse reads the flags, and for those that are not set the variables OUTCRIER_… of their
// names; DATABASE_URL too.
func parse(args []string, getenv func(string) string, stderr io.Writer) (s settings, code int) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.listen, "listen", "127.0.0.1:8080", "the `address` to serve at, on loopback; by default another port if that one is taken")
	flags.Func("allow-origin", "an `origin` whose pages may read streams, like http://localhost:5173; may be repeated", func(value string) error {
		origin, err := handlers.ParseOrigin(value)
		s.origins = append(s.origins, origin)
		return err
	})
	flags.StringVar(&s.databaseURL, "database-url", "", "the `database` for the outbox and the demo's own tables; by default a private Postgres")
	flags.StringVar(&s.data, "data", "", "the `folder` of the private Postgres, kept between runs; by default one of this user's")
	flags.BoolVar(&s.migrate, "migrate", true, "apply the outbox's migrations at the start")
	flags.Float64Var(&s.traffic, "traffic", 0.5, "how many `actions` a second imaginary users take; 0 begins with none, and the page can switch")
	flags.StringVar(&s.node, "node", outcrier.DefaultName(), "the `name` of this process among the nodes")
	flags.BoolVar(&s.audit, "audit", true, "record which streams received which events, for the admin page")
	flags.BoolVar(&s.gzip, "gzip", false, "gzip streams for clients that accept it")
	flags.DurationVar(&s.heartbeat, "heartbeat", 15*time.Second, "the silence on a stream after which a heartbeat is sent")
	flags.DurationVar(&s.retry, "retry", 3*time.Second, "the time after which a browser reconnects, on average")
	flags.DurationVar(&s.drain, "drain", time.Second, "the time over which all streams are ended when the demo stops")
	flags.TextVar(&s.logLevel, "log-level", slog.LevelWarn, "the least severe `level` that is logged: debug, info, warn or error")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return s, 0
		}
		return s, 2
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var mistakes []string
	flags.VisitAll(func(f *flag.Flag) {
		variables := []string{"OUTCRIER_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))}
		if f.Name == "database-url" {
			variables = append(variables, "DATABASE_URL")
		}
		for _, variable := range variables {
			value := getenv(variable)
			if given[f.Name] || value == "" {
				continue
			}
			given[f.Name] = true
			if err := flags.Set(f.Name, value); err != nil {
				mistakes = append(mistakes, fmt.Sprintf("%s: %v", variable, err))
			}
		}
	})
	s.listenGiven = given["listen"]
	if flags.NArg() > 0 {
		mistakes = append(mistakes, fmt.Sprintf("unexpected argument %q", flags.Arg(0)))
	}
	if host, _, err := net.SplitHostPort(s.listen); err != nil || !handlers.IsLoopback(host) {
		mistakes = append(mistakes, "--listen: want host:port with 127.0.0.1, [::1] or localhost as the host: nobody has to sign in")
	}
	if err := outcrier.CheckName(s.node); err != nil {
		mistakes = append(mistakes, "--node: "+err.Error())
	}
	if s.databaseURL != "" {
		s.data = ""
	}
	if mistakes != nil {
		fmt.Fprintf(stderr, "demo: %s\nSee 'demo --help'.\n", strings.Join(mistakes, "\ndemo: "))
		return s, 2
	}
	return s, parsed
}
