// Command outcrier tails a Postgres outbox table and streams its events to
// browsers over Server-Sent Events.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	_ "time/tzdata" // for TZ in an image that has no file but the program
)

// The exit codes of run.
const (
	exitDone    = 0
	exitFailed  = 1 // the command ran and failed
	exitMistake = 2 // the command line or a setting is wrong; nothing ran
	// exitInterrupted is for a command that a signal ended before it was done, as shells
	// have it for Ctrl-C. What runs until it is ended, like serve and tail, is done then.
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an orderly end. From then on signals have their
	// default effect again, so that a second one kills an end that hangs.
	context.AfterFunc(ctx, stop)
	if os.Getenv("GOGC") == "" {
		// Most of what a server holds are streams, and they hold still: by
		// default half of its memory would be room for garbage.
		debug.SetGCPercent(40)
	}
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// process is what a command was started with, in place of the globals of os.
type process struct {
	environ        []string // as os.Environ gives it
	stdin          io.Reader
	stdout, stderr io.Writer
	log            *slog.Logger // to stderr, as the log settings say
}

// variable returns the value of an environment variable; empty where it is not set.
func variable(environ []string, name string) string {
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// run is the whole program: args without the program's name, environ as
// os.Environ gives it. It returns the exit code when the command has ended,
// which it does in good order when ctx is cancelled.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return execute(ctx, process{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr}, &commands{}, args)
}

// execute runs one command of the grammar.
func execute(ctx context.Context, p process, grammar any, args []string) int {
	c, err := parse(grammar, args, p)
	switch {
	case err != nil:
		fmt.Fprintf(p.stderr, "%s: %v\nSee '%[1]s --help'.\n", c.path, err)
		return exitMistake
	case c.command == nil:
		return exitDone
	}
	p.log = c.logger(p.stderr)
	for _, name := range c.unknown {
		p.log.Warn("variable ignored, no setting has this name", "variable", name)
	}
	err = c.Run(ctx, p)
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = context.Cause(ctx) // the signal says more than "context canceled"
	}
	fmt.Fprintf(p.stderr, "%s: %v\n", c.path, err)
	if ctx.Err() != nil {
		return exitInterrupted
	}
	return exitFailed
}

// version is the module's version that the binary was built from, "(devel)"
// for one built from uncommitted source.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
