package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/internal/doctor"
)

// doctorConfig is the settings of "outcrier doctor". At least one of the database, the
// URL and the token is there to be examined.
type doctorConfig struct {
	DatabaseSettings
	DirectURL   string `name:"direct-url" secret:"true" help:"the same database without a pooler between, as the server has it; by default the database URL"`
	URL         string `name:"url" secret:"true" help:"a server's public URL, to test from end to end: a probe is appended on a topic under outcrier/doctor/"`
	Token       string `name:"token" secret:"true" help:"a token to explain, and to use at --url; better in its variable than on the command line"`
	KeySettings `group:"Access"`
	Patience    time.Duration `scope:"doctor" name:"patience" default:"20s" allow:"100ms..10m" help:"how long to wait for a heartbeat at --url; must be longer than the server's --heartbeat"`
	JSON        bool          `scope:"doctor" name:"json" help:"print the findings as JSON"`
	LogSettings
}

func (doctorConfig) Help() string {
	return `Examines what is given: the database (schema, rights, LISTEN, partitions, open
transactions), a token (what it says, and with the server's key settings whether it
is good), and a server at its public URL, through all proxies (buffering, lost headers,
heartbeats). Nothing is changed, but for one probe event at --url.

It exits with 0 when nothing is an error (there may be warnings and advice), with 1 when
something is, and with 2 when a setting is wrong.`
}

func (c *doctorConfig) check(r *report) {
	c.DatabaseSettings.check(r)
	rejectUnlessDSN(r, "direct-url", c.DirectURL)
	c.KeySettings.check(r)
	if c.DirectURL != "" && c.DatabaseURL == "" {
		r.reject("direct-url", "needs --database-url too")
	}
	if c.URL != "" && notServer(c.URL) {
		r.reject("url", "want http://host:port or https://host:port")
	}
	if c.DatabaseURL == "" && c.URL == "" && c.Token == "" {
		r.reject("database-url", "has to be given, or --url, or --token")
	}
}

func (c doctorConfig) Run(ctx context.Context, p process) error {
	var verifier *auth.Verifier
	if c.configured() {
		var err error
		if verifier, err = c.verifier(p.log, false); err != nil {
			return err
		}
	}
	list := []doctor.Finding{}
	print := printer{w: p.stdout, terminal: terminalOf(p.stdout, p.environ)}
	counts := doctor.Examine(ctx, doctor.Config{
		DatabaseURL: c.DatabaseURL, DirectURL: c.DirectURL, Schema: c.Schema, URL: c.URL, Token: c.Token, Verifier: verifier, Patience: c.Patience,
		Found: func(f doctor.Finding) {
			list = append(list, f)
			if !c.JSON {
				print.finding(f)
			}
		},
	})
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(p.stdout, map[string]any{"healthy": counts[doctor.Error] == 0, "findings": list}); err != nil {
			return err
		}
	} else {
		print.sum(counts)
	}
	if n := counts[doctor.Error]; n > 0 {
		return fmt.Errorf("%s among %s", several(n, "error"), several(len(list), "finding"))
	}
	return nil
}

// printer prints findings for people: one a line, with what to do beneath it.
type printer struct {
	w        io.Writer
	terminal *terminal // nil for none
}

var severityColours = map[doctor.Severity]string{doctor.OK: green, doctor.Advice: cyan, doctor.Warning: yellow, doctor.Error: red}

func (p printer) finding(f doctor.Finding) {
	word := fmt.Sprintf("%-8s", f.Severity)
	if p.terminal != nil {
		word = p.terminal.paint(severityColours[f.Severity], word)
	}
	fmt.Fprintf(p.w, "%s %-18s %s\n", word, f.Check, flat(f.Text))
	if f.Remedy != "" {
		fmt.Fprintf(p.w, "%27s → %s\n", "", flat(f.Remedy))
	}
	for _, line := range f.Details {
		fmt.Fprintf(p.w, "%27s   %s\n", "", flat(line))
	}
}

func (p printer) sum(counts map[doctor.Severity]int) {
	fmt.Fprintf(p.w, "\n%d ok, %d advice, %s, %s\n", counts[doctor.OK], counts[doctor.Advice],
		several(counts[doctor.Warning], "warning"), several(counts[doctor.Error], "error"))
}
