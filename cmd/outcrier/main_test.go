package main

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// output is what a call of run ended with.
type output struct {
	code           int
	stdout, stderr string
}

func runWith(t *testing.T, environ []string, args ...string) output {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, environ, strings.NewReader(""), &stdout, &stderr)
	return output{code, stdout.String(), stderr.String()}
}

func TestRun_MistakesExitWithTwoAndSayWhereHelpIs(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "outcrier: no command given, want append, audit, catalogue, doctor, health, migrate, serve, tail, token or version\nSee 'outcrier --help'.\n"},
		{[]string{"follow"}, "outcrier: unknown command \"follow\", want append, audit, catalogue, doctor, health, migrate, serve, tail, token or version\nSee 'outcrier --help'.\n"},
		{[]string{"server"}, "outcrier: unknown command \"server\", did you mean serve?\nSee 'outcrier --help'.\n"},
		{[]string{"migrate"}, "outcrier migrate: no command given, want drop, roles, sql, status or up\nSee 'outcrier migrate --help'.\n"},
		{[]string{"migrate", "sideways"}, "outcrier migrate: unknown command \"sideways\", want drop, roles, sql, status or up\nSee 'outcrier migrate --help'.\n"},
		{[]string{"serve", "now"}, "outcrier serve: unexpected argument \"now\", settings are given as --name value\nSee 'outcrier serve --help'.\n"},
		{[]string{"serve", "--trun", "1s"}, "outcrier serve: unknown flag: --trun, did you mean --turn?\nSee 'outcrier serve --help'.\n"},
		{[]string{"serve", "--turn"}, "outcrier serve: flag needs an argument: --turn\nSee 'outcrier serve --help'.\n"},
		{[]string{"migrate", "up"}, "outcrier migrate up: a setting is wrong\n  --database-url (OUTCRIER_DATABASE_URL, DATABASE_URL): has to be given\nSee 'outcrier migrate up --help'.\n"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			got := runWith(t, nil, tt.args...)
			if want := (output{exitMistake, "", tt.want}); got != want {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

// call runs cmd in a root of its own, as run would.
func call(t *testing.T, ctx context.Context, do func(context.Context) error) error {
	t.Helper()
	cmd := newCommand(process{stderr: t.Output()}, "test", "",
		func(ctx context.Context, _ process, _ migrateSQLConfig) error { return do(ctx) })
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs([]string{})
	return cmd.ExecuteContext(ctx)
}

func TestCommand_FailureIsToldFromMistake(t *testing.T) {
	broken := errors.New("broken")
	err := call(t, t.Context(), func(context.Context) error { return broken })
	if _, ok := errors.AsType[*failure](err); !ok || !errors.Is(err, broken) {
		t.Errorf("error %#v, want a failure that wraps the command's", err)
	}
}

func TestCommand_SaysWhatCancelledIt(t *testing.T) {
	interrupted := errors.New("interrupt signal received")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := call(t, ctx, func(ctx context.Context) error { cancel(interrupted); return ctx.Err() })
	if !errors.Is(err, interrupted) {
		t.Errorf("error %v, want %v", err, interrupted)
	}
}

func TestHelp_ShowsFlagVariableDefaultAndWhatIsAllowed(t *testing.T) {
	got := runWith(t, nil, "serve", "--help")
	if got.code != exitDone || got.stderr != "" {
		t.Fatalf("code %d, stderr %q", got.code, got.stderr)
	}
	for _, want := range []string{
		"--database-url text", "OUTCRIER_DATABASE_URL, DATABASE_URL\n",
		"--turn duration", "OUTCRIER_TURN, 1ms to 1s (default 10ms)\n",
		"--wake notify|poll", "OUTCRIER_WAKE (default notify)\n",
		"--schema text", "OUTCRIER_SCHEMA (default outcrier)\n",
		"--retention duration", "OUTCRIER_RETENTION, 0, or 24h or more (default 168h)\n",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("help lacks %q:\n%s", want, got.stdout)
		}
	}
}

// TestHelp_NamesEverySetting holds for each command, those added later too.
func TestHelp_NamesEverySetting(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		got := runWith(t, nil, append(strings.Fields(cmd.CommandPath())[1:], "--help")...)
		if got.code != exitDone {
			t.Errorf("%s --help ends with %d: %s", cmd.CommandPath(), got.code, got.stderr)
		}
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			text, ours := flag.Value.(*flagText)
			if !ours {
				return
			}
			for _, want := range append(text.setting.variables(), "--"+flag.Name) {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("%s --help lacks %s", cmd.CommandPath(), want)
				}
			}
		})
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(process{}))
}

// TestSettings_DefaultsAreAllowed finds faulty tags: bounds that can't be read
// panic, and a default outside of them is reported.
func TestSettings_DefaultsAreAllowed(t *testing.T) {
	mustLoad[serveConfig](t, nil, "--dev")
	mustLoad[migrateDropConfig](t, nil, "--database-url", dsn)
	mustLoad[migrateStatusConfig](t, nil, "--database-url", dsn)
	mustLoad[migrateSQLConfig](t, nil)
	mustLoad[migrateUpConfig](t, nil, "--database-url", dsn)
	mustLoad[migrateRolesConfig](t, nil, "--database-url", dsn)
	mustLoad[appendConfig](t, nil, "--database-url", dsn, "--topic", "t", "--type", "a")
	mustLoad[tailConfig](t, nil, "--database-url", dsn)
	mustLoad[tokenConfig](t, nil, "--jwt-secret", secret)
}

func TestUnknownVariables_AreThoseOfNoCommand(t *testing.T) {
	got := unknownVariables(newRoot(process{}), []string{
		"HOME=/", "DATABASE_URL=x", "OUTCRIER_TURN=1s", "OUTCRIER_TRUN=1s", "OUTCRIER_HELP=1", "OUTCRIER_PG_BIN=/bin",
	})
	if want := []string{"OUTCRIER_TRUN", "OUTCRIER_HELP"}; !slices.Equal(got, want) {
		t.Errorf("unknown variables %q, want %q", got, want)
	}
}

func TestCommand_WarnsOfUnknownVariables(t *testing.T) {
	var stderr bytes.Buffer
	cmd := newCommand(process{environ: []string{"OUTCRIER_TRUN=1s", "OUTCRIER_LOG_FORMAT=json"}, stderr: &stderr}, "test", "",
		func(context.Context, process, migrateSQLConfig) error { return nil })
	cmd.SetArgs([]string{})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stderr.String(), `"variable":"OUTCRIER_TRUN"`) {
		t.Errorf("log %q, want a warning of OUTCRIER_TRUN", stderr.String())
	}
}
