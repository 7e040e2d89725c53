package main

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
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
		{nil, "outcrier: no command given, want serve, migrate, append, tail, token, catalogue, audit, doctor, health or version\nSee 'outcrier --help'.\n"},
		{[]string{"follow"}, "outcrier: unknown command \"follow\", want serve, migrate, append, tail, token, catalogue, audit, doctor, health or version\nSee 'outcrier --help'.\n"},
		{[]string{"server"}, "outcrier: unknown command \"server\", did you mean \"serve\"?\nSee 'outcrier --help'.\n"},
		{[]string{"migrate"}, "outcrier migrate: no command given, want up, status, sql, roles or drop\nSee 'outcrier migrate --help'.\n"},
		{[]string{"migrate", "sideways"}, "outcrier migrate: unknown command \"sideways\", want up, status, sql, roles or drop\nSee 'outcrier migrate --help'.\n"},
		{[]string{"token", "revok"}, "outcrier token mint: unexpected argument \"revok\", settings are given as --name value\nSee 'outcrier token mint --help'.\n"},
		{[]string{"token", "--subject", "ann", "revoke"}, "outcrier token: flag --subject applies to the default command \"mint\", not \"revoke\"\nSee 'outcrier token --help'.\n"},
		{[]string{"serve", "now"}, "outcrier serve: unexpected argument \"now\", settings are given as --name value\nSee 'outcrier serve --help'.\n"},
		{[]string{"serve", "--trun", "1s"}, "outcrier serve: unknown flag --trun, did you mean \"--turn\"?\nSee 'outcrier serve --help'.\n"},
		{[]string{"serve", "--turn"}, "outcrier serve: --turn: needs a value\nSee 'outcrier serve --help'.\n"},
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

// probe is a command that calls a function.
type probe struct {
	LogSettings
	do func(context.Context) error
}

func (probe) check(*report) {}

func (c probe) Run(ctx context.Context, _ process) error { return c.do(ctx) }

// call runs a command that calls do, as run would.
func call(ctx context.Context, environ []string, do func(context.Context) error, args ...string) output {
	grammar := struct {
		Test probe `cmd:""`
	}{probe{do: do}}
	var stdout, stderr bytes.Buffer
	code := execute(ctx, process{environ: environ, stdout: &stdout, stderr: &stderr}, &grammar, append([]string{"test"}, args...))
	return output{code, stdout.String(), stderr.String()}
}

func TestCommand_FailureIsToldFromMistake(t *testing.T) {
	broken := func(context.Context) error { return errors.New("broken") }
	if got, want := call(t.Context(), nil, broken), (output{exitFailed, "", "outcrier test: broken\n"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := call(t.Context(), nil, broken, "--log-level", "loud"); got.code != exitMistake || strings.Contains(got.stderr, "broken") {
		t.Errorf("with a mistake: %+v", got)
	}
}

func TestCommand_SaysWhatCancelledIt(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	got := call(ctx, nil, func(ctx context.Context) error {
		cancel(errors.New("interrupt signal received"))
		return ctx.Err()
	})
	if want := (output{exitInterrupted, "", "outcrier test: interrupt signal received\n"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestRun_TakesWhatOthersTake: what people type who know other programs.
func TestRun_TakesWhatOthersTake(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--version"}, "outcrier "}, {[]string{"-v"}, "outcrier "}, {[]string{"version"}, "outcrier "},
		{[]string{"help"}, "Usage: outcrier <command>"}, {[]string{"-h"}, "Usage: outcrier <command>"},
		{[]string{"help", "migrate", "up"}, "Usage: outcrier migrate up"}, {[]string{"serve", "-h"}, "Usage: outcrier serve"},
		{[]string{"migrate", "--help"}, "migrate status"},
		{[]string{"token", "--help"}, "token revoke"}, {[]string{"token", "--help"}, "--subscribe=text"},
	} {
		if got := runWith(t, nil, tt.args...); got.code != exitDone || got.stderr != "" || !strings.Contains(got.stdout, tt.want) {
			t.Errorf("%q: %+v, want %q", tt.args, got, tt.want)
		}
	}
}

// TestRun_CompletesWords: as "complete -C outcrier outcrier" of bash calls it.
func TestRun_CompletesWords(t *testing.T) {
	for line, want := range map[string]string{
		"outcrier ta":                   "tail\n",
		"outcrier migrate s":            "status\nsql\n",
		"outcrier tail --fo":            "--format\n",
		"outcrier token --subj":         "--subject\n",
		"outcrier tail --topic a --pos": "--position-file\n",
		"outcrier nothing":              "",
		"outcrier":                      "",
	} {
		if got := runWith(t, []string{"COMP_LINE=" + line}); got != (output{exitDone, want, ""}) {
			t.Errorf("%q: %+v, want %q", line, got, want)
		}
	}
}

func TestHelp_ShowsFlagVariableDefaultAndWhatIsAllowed(t *testing.T) {
	got := runWith(t, nil, "serve", "--help")
	if got.code != exitDone || got.stderr != "" {
		t.Fatalf("code %d, stderr %q", got.code, got.stderr)
	}
	for _, want := range []string{
		"--database-url=text ", "(OUTCRIER_DATABASE_URL, DATABASE_URL)\n",
		"--turn=duration ", "(OUTCRIER_TURN; 1ms to 1s; default 10ms)\n",
		"--wake=notify|poll ", "(OUTCRIER_WAKE; default notify)\n",
		"--schema=text ", "(OUTCRIER_SCHEMA; default outcrier)\n",
		"--retention=duration ", "(OUTCRIER_RETENTION; 0, or 24h or more; default 168h)\n",
		"\nStreams:\n", "\nLimits:\n",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("help lacks %q:\n%s", want, got.stdout)
		}
	}
}

// model is the command line as it is read.
func model(t *testing.T) *kong.Application {
	t.Helper()
	parser, err := newParser(&commands{}, process{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model
}

// TestHelp_NamesEverySetting holds for each command, those added later too.
func TestHelp_NamesEverySetting(t *testing.T) {
	for _, command := range model(t).Leaves(false) {
		got := runWith(t, nil, append(strings.Fields(command.Path()), "--help")...)
		if got.code != exitDone {
			t.Errorf("%s --help ends with %d: %s", command.FullPath(), got.code, got.stderr)
		}
		for _, s := range settingsOf(command) {
			// All on one line, for grep.
			line := regexp.MustCompile(`(?m)^ +--` + s.flag.Name + `[ =].*\b` + strings.Join(s.variables(), ", ") + `\b`)
			if !line.MatchString(got.stdout) {
				t.Errorf("%s --help lacks --%s with %q", command.FullPath(), s.flag.Name, s.variables())
			}
		}
	}
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
	got := unknownVariables(model(t), []string{
		"HOME=/", "DATABASE_URL=x", "OUTCRIER_TURN=1s", "OUTCRIER_TRUN=1s", "OUTCRIER_HELP=1", "OUTCRIER_PG_BIN=/bin",
	})
	if want := []string{"OUTCRIER_TRUN", "OUTCRIER_HELP"}; !slices.Equal(got, want) {
		t.Errorf("unknown variables %q, want %q", got, want)
	}
}

func TestCommand_WarnsOfUnknownVariables(t *testing.T) {
	environ := []string{"OUTCRIER_TRUN=1s", "OUTCRIER_LOG_FORMAT=json"}
	got := call(t.Context(), environ, func(context.Context) error { return nil })
	if got.code != exitDone || !strings.Contains(got.stderr, `"variable":"OUTCRIER_TRUN"`) {
		t.Errorf("%+v, want a warning of OUTCRIER_TRUN", got)
	}
}
