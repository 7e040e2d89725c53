package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// suggestFlag adds to the error of a flag that a command does not have the one that was
// meant, if one is near.
func suggestFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	name := unknown.GetSpecifiedName()
	best, nearest := "", 1+max(1, len(name)/3)
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		distance := edits(name, flag.Name)
		if len(name) > 2 && strings.HasPrefix(flag.Name, name) {
			distance = min(distance, 1)
		}
		if distance < nearest {
			best, nearest = flag.Name, distance
		}
	})
	if best == "" {
		return err
	}
	return fmt.Errorf("%w, did you mean --%s?", err, best)
}

// edits is how many bytes have to be put in, taken out, replaced or swapped with the next
// to make b of a (the optimal string alignment distance).
func edits(a, b string) int {
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
