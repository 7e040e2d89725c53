package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Config says what to measure, and on what.
type Config struct {
	// Only names the measures to make, all of them by default.
	Only []string
	// DatabaseURL is a Postgres whose outbox may get events of the bench. By
	// default a private one is brought up, and thrown away.
	DatabaseURL string
	// URL is a server on that database, as http://host:port. By default one is
	// started by Command.
	URL string
	// Token is a bearer token for the server at URL, if it needs one.
	Token string
	// ServerPID is the process of the server at URL, when it is on this machine.
	ServerPID int
	// Command starts a server: it is followed by flags of "outcrier serve".
	// BareCommand starts Bare: it is followed by --schema, --listen and --log-level,
	// and finds the database in the environment as the other does.
	Command, BareCommand []string
	// Centrifugo, when not empty, is the path of its program, which way then compares
	// with, by its outbox consumer with notifications. It was tried with 6.9.1.
	Centrifugo string
	// WebSocket has the streams be WebSockets.
	WebSocket bool
	// Format is that of the events that the streams ask for: cloudevents or
	// payload.
	Format string
	// SyncDelay makes every sync of the private Postgres take that much longer.
	SyncDelay time.Duration
	Sizes
	Log *slog.Logger
	// Progress is called with the current step.
	Progress func(text string)
}

// Sizes are how much of everything there is.
type Sizes struct {
	// Runs is how often each measure is repeated, Seconds how long a timed
	// round of it lasts.
	Runs    int     `json:"runs"`
	Seconds float64 `json:"seconds"`
	// Payload is in bytes.
	Payload int `json:"payload"`
	// Writers are the numbers of concurrent writers of the measure writers.
	Writers []int `json:"writers"`
	// Streams are the crowds of fanout; idle and storm take the largest.
	Streams []int `json:"streams"`
	// Rate is fanout's pace, LatencyRate that of latency and StormRate that of
	// storm, all in events a second.
	Rate        float64 `json:"rate"`
	LatencyRate float64 `json:"latency_rate"`
	StormRate   float64 `json:"storm_rate"`
	// Nodes is how many nodes follow the outbox in the measure work, for what each costs
	// Postgres.
	Nodes int `json:"nodes"`
	// Beside is the number of idle streams that are open while latency is measured.
	Beside int `json:"beside"`
	// Settle is how long idle streams are left alone before memory is read.
	Settle time.Duration `json:"settle_ns"`
	// Held is how many events replay finds in the outbox, Missed how many of
	// them the stream has missed.
	Held   int `json:"held"`
	Missed int `json:"missed"`
	// Backlog is how many events tail takes in at once.
	Backlog int `json:"backlog"`
	// Outbox is how many events fair finds in the outbox.
	Outbox int `json:"outbox"`
	// Hostile is how many readers of the measure hostile read nothing.
	Hostile int `json:"hostile"`
}

func (s Sizes) round() time.Duration { return time.Duration(s.Seconds * float64(time.Second)) }

// pause is the time to let something arrive, or settle, between rounds.
func (s Sizes) pause() time.Duration { return min(s.round(), time.Second) }

// measures are in the order in which they are made: those that fill the table are
// the last.
var measures = []struct {
	name string
	make func(*bench, context.Context) error
}{
	{"writers", (*bench).writers},
	{"way", (*bench).wholeWay},
	{"work", (*bench).work},
	{"latency", (*bench).latency},
	{"fanout", (*bench).fanout},
	{"idle", (*bench).idle},
	{"storm", (*bench).storm},
	{"hostile", (*bench).hostile},
	{"tail", (*bench).tail},
	{"replay", (*bench).replay},
	{"fair", (*bench).fair},
}

// bench is one run of the whole.
type bench struct {
	Config
	name   string // what tells this run's topics and schema from another's
	target *target
	report *Report
	worked Count // what streams received in the measure work
}

// Run measures. The report has the results up to the end, or up to an error: that of a
// target that can't be used, or the cause of ctx. A failure of one measure is listed in the
// report, and the others go on.
func Run(ctx context.Context, config Config) (report *Report, err error) {
	b := &bench{Config: config, name: strings.ToLower(rand.Text()[:6])}
	b.report = &Report{
		Format: 1, Began: time.Now().UTC(), Run: b.name, Sizes: config.Sizes, Figures: []Figure{}, Failures: []Failure{},
		Machine: Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()},
	}
	if err := allowFiles(max(slices.Max(config.Streams), config.Beside, config.Hostile)); err != nil {
		return b.report, err
	}
	if b.target, err = b.open(ctx); err != nil {
		return b.report, err
	}
	defer func() { err = errors.Join(err, b.target.close()) }()
	if err := b.describe(ctx); err != nil {
		return b.report, err
	}
	for _, m := range measures {
		if len(b.Only) > 0 && !slices.Contains(b.Only, m.name) {
			continue
		}
		err := m.make(b, ctx)
		if ctx.Err() != nil {
			return b.report, context.Cause(ctx)
		}
		if err != nil {
			b.report.Failures = append(b.report.Failures, Failure{m.name, err.Error()})
			b.Log.Error("measure ended early", "measure", m.name, "err", err)
		}
	}
	b.report.Seconds = time.Since(b.report.Began).Seconds()
	return b.report, nil
}

// topic is one of this run's.
func (b *bench) topic(format string, args ...any) string {
	return fmt.Sprintf("bench/%s/%s", b.name, fmt.Sprintf(format, args...))
}

func (b *bench) say(format string, args ...any) { b.Progress(fmt.Sprintf(format, args...)) }

// sleep waits for d, or for ctx.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
