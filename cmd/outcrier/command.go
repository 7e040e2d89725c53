package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
)

// config is the settings of one command: a struct whose tagged fields are
// described at setting.
type config interface {
	// check completes the settings that depend on others, and rejects wrong ones that the
	// tags can't detect.
	check(r *report)
	logger(w io.Writer) *slog.Logger
}

// failure is the error of a command that ran, as opposed to a mistake in how
// it was called.
type failure struct{ err error }

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// newCommand is a command with C's settings as its flags. It calls run once
// the settings are known to be right.
func newCommand[C any, P interface {
	*C
	config
}](p process, name, short string, run func(context.Context, process, C) error) *cobra.Command {
	var settings C
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load(P(&settings), cmd.Flags(), p.environ); err != nil {
				return err
			}
			p.log = P(&settings).logger(p.stderr)
			for _, name := range unknownVariables(cmd.Root(), p.environ) {
				p.log.Warn("variable ignored, no setting has this name", "variable", name)
			}
			if err := run(cmd.Context(), p, settings); err != nil {
				return &failure{err: endedBy(cmd.Context(), err)}
			}
			return nil
		},
	}
	register(cmd.Flags(), settingsOf(settings))
	cmd.SetFlagErrorFunc(suggestFlag)
	cmd.SetUsageFunc(printUsage)
	return cmd
}

// endedBy is err, or what cancelled ctx when err says no more than that ctx
// was cancelled: the signal, as a rule.
func endedBy(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}

// newGroup is a command that does nothing but hold others.
func newGroup(name, short string) *cobra.Command {
	return &cobra.Command{
		Use:                        name + " <command>",
		Short:                      short,
		SuggestionsMinimumDistance: 2,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
					return fmt.Errorf("unknown command %q, did you mean %s?", args[0], enumerate(near))
				}
				return fmt.Errorf("unknown command %q, want %s", args[0], commandNames(cmd))
			}
			return nil
		},
		// Without it cobra would print the help of a call that did nothing,
		// and report success to the script that made it.
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf("no command given, want %s", commandNames(cmd))
		},
	}
}

func commandNames(group *cobra.Command) string {
	var names []string
	for _, cmd := range group.Commands() {
		if cmd.IsAvailableCommand() {
			names = append(names, cmd.Name())
		}
	}
	return enumerate(names)
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q, settings are given as --name value", args[0])
	}
	return nil
}

// enumerate joins alternatives for a reader: "a, b or c".
func enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
