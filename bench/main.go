package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// The exit codes of run, as those of the command outcrier.
const (
	exitDone    = 0
	exitFailed  = 1 // it ran, and something failed, was lost or came twice
	exitMistake = 2 // the command line is wrong; nothing ran
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal kills an end that hangs.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// bareName is the first argument of the process that serves as little as is compared
// with. Only the bench starts it.
const bareName = "bare"

// run is the whole program: args are without its name.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == bareName {
		return runBare(ctx, args[1:], getenv, stdout, stderr)
	}
	s, err := parse(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		fmt.Fprintf(stderr, "outcrier-bench: %v\nSee 'outcrier-bench --help'.\n", err)
		return exitMistake
	}
	if err := s.measure(ctx, stdout, stderr); err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			err = context.Cause(ctx)
		}
		fmt.Fprintf(stderr, "outcrier-bench: %v\n", err)
		return exitFailed
	}
	return exitDone
}

// measure runs the bench and prints its report.
func (s settings) measure(ctx context.Context, stdout, stderr io.Writer) error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	s.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: s.logLevel}))
	s.Progress = func(text string) { fmt.Fprintln(stderr, text) }
	s.BareCommand = []string{executable, bareName}
	if s.URL == "" {
		program, remove, err := s.program(ctx, stderr)
		if err != nil {
			return err
		}
		defer remove()
		s.Command = []string{program, "serve"}
	}
	report, err := Run(ctx, s.Config)
	if err != nil && len(report.Figures) == 0 {
		return err
	}
	return errors.Join(err, s.print(stdout, report))
}

var errInexact = errors.New("not all was measured, or something was lost or repeated")

func (s settings) print(w io.Writer, report *Report) error {
	var err error
	if s.json {
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

// runBare is the process that bench starts: it takes the flags that server.spawn gives.
func runBare(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(bareName, flag.ContinueOnError)
	flags.SetOutput(stderr)
	schema := flags.String("schema", "", "the scratch schema of the bench")
	listen := flags.String("listen", "127.0.0.1:0", "the address to serve on")
	_ = flags.String("log-level", "", "for outcrier serve: ignored")
	if err := flags.Parse(args); err != nil {
		return exitMistake
	}
	if err := Bare(ctx, getenv("OUTCRIER_DATABASE_URL"), *schema, *listen, stdout); err != nil {
		fmt.Fprintf(stderr, "outcrier-bench %s: %v\n", bareName, err)
		return exitFailed
	}
	return exitDone
}
