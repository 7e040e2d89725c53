package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The headings of the help.
const (
	groupOwn   = "Settings"
	groupOther = "Other"
)

// printUsage prints the settings of a command beneath the headings of their groups, in
// the order in which the first of each comes.
func printUsage(cmd *cobra.Command) error {
	width := 0 // as long as they are, for grep
	if t := terminalOf(cmd.OutOrStdout(), nil); t != nil {
		width = t.width()
	}
	out := cmd.OutOrStderr()
	if _, err := fmt.Fprintf(out, "Usage:\n  %s\n", cmd.UseLine()); err != nil {
		return err
	}
	for _, g := range groupsOf(cmd.Flags()) {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags.SortFlags = false
		for _, flag := range g.flags {
			flags.AddFlag(flag)
		}
		if _, err := fmt.Fprintf(out, "\n%s:\n%s", g.name, flags.FlagUsagesWrapped(width)); err != nil {
			return err
		}
	}
	return nil
}

// group is flags beneath one heading.
type group struct {
	name  string
	flags []*pflag.Flag
}

func groupsOf(flags *pflag.FlagSet) (groups []group) {
	flags.VisitAll(func(flag *pflag.Flag) {
		name := groupOther // cobra's own
		if text, ours := flag.Value.(*flagText); ours {
			if name = text.setting.group; name == "" {
				name = groupOwn
			}
		}
		i := slices.IndexFunc(groups, func(g group) bool { return g.name == name })
		if i < 0 {
			i, groups = len(groups), append(groups, group{name: name})
		}
		groups[i].flags = append(groups[i].flags, flag)
	})
	slices.SortStableFunc(groups, func(a, b group) int { return rank(a.name) - rank(b.name) })
	return groups
}

// rank puts a command's own settings first, and what every command has last.
func rank(group string) int {
	switch group {
	case groupOwn:
		return 0
	case groupOther:
		return 2
	}
	return 1
}
