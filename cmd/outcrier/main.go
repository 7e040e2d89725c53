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
	"syscall"

	"github.com/spf13/cobra"
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

// run is the whole program: args without the program's name, environ as
// os.Environ gives it. It returns the exit code when the command has ended,
// which it does in good order when ctx is cancelled.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot(process{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr})
	// Without arguments cobra would take those of the test binary.
	root.SetArgs(append([]string{}, args...))
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(stderr, "%s: %v\n", cmd.CommandPath(), err)
	if _, ok := errors.AsType[*failure](err); ok {
		if ctx.Err() != nil {
			return exitInterrupted
		}
		return exitFailed
	}
	fmt.Fprintf(stderr, "See '%s --help'.\n", cmd.CommandPath())
	return exitMistake
}

func newRoot(p process) *cobra.Command {
	root := newGroup("outcrier", "Streams the events of a Postgres outbox to browsers")
	root.Long = `Outcrier tails a Postgres outbox table and streams its events to browsers over
Server-Sent Events.

Every setting is a flag and an environment variable: --idle-turn is
OUTCRIER_IDLE_TURN. A flag wins over its variable; an empty flag stands for the
default, and an empty variable counts as not given. DATABASE_URL is read where
OUTCRIER_DATABASE_URL is not given.`
	root.Version = version()
	root.SetVersionTemplate(builtFrom().String())
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		serveCommand(p),
		migrateCommand(p),
		appendCommand(p),
		tailCommand(p),
		tokenCommand(p),
		catalogueCommand(p),
		auditCommand(p),
		doctorCommand(p),
		healthCommand(p),
		versionCommand(p),
	)
	return root
}

// version is the module's version that the binary was built from, "(devel)"
// for one built from uncommitted source.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
