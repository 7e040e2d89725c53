//go:build unix

package pgserver

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// What Linux tells in /proc, ps tells elsewhere; minimal containers lack ps.

// commandOf is the command line of a process, empty when it does not run.
func commandOf(ctx context.Context, pid int) string {
	if args, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); err == nil {
		return string(bytes.ReplaceAll(args, []byte{0}, []byte{' '}))
	}
	args, _ := exec.CommandContext(ctx, "ps", "-p", strconv.Itoa(pid), "-o", "args=").Output()
	return string(args)
}

// childrenOf are the processes that a process has forked and not yet reaped.
func childrenOf(ctx context.Context, parent int) []int {
	var children []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		// 4711 (name of any (form)) state parent …
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			children = append(children, pid)
		}
	}
	if stats != nil {
		return children
	}

	out, _ := exec.CommandContext(ctx, "ps", "-A", "-o", "pid=,ppid=").Output()
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(fields[0])
			children = append(children, pid)
		}
	}
	return children
}
