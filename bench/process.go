package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// errNoProcess is why CPU and memory of the server can't be measured.
var errNoProcess = errors.New("the server's process is not known; --server-pid names it")

// ticksPerSecond is the unit of CPU times in /proc, on every architecture.
const ticksPerSecond = 100

// cpuOf is the CPU time that a process has used, in user and in system mode. It fails
// where there is no /proc.
func cpuOf(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, errNoProcess
	}
	s, err := statOf(pid)
	if err != nil {
		return 0, fmt.Errorf("read the server's CPU time: %w", err)
	}
	return s.used, nil
}

// memory is what a process holds, in bytes.
type memory struct {
	// resident is its pages in RAM, proportional its fair share of those that it
	// shares with other processes.
	resident, proportional int64
}

// memoryOf reads /proc/pid/smaps_rollup, which its owner and root may.
func memoryOf(pid int) (m memory, err error) {
	if pid == 0 {
		return m, errNoProcess
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, fmt.Errorf("read the server's memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line) // Rss: 1234 kB
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return m, fmt.Errorf("read the server's memory: %w", err)
		}
		switch fields[0] {
		case "Rss:":
			m.resident = n << 10
		case "Pss:":
			m.proportional = n << 10
		}
	}
	if m.resident == 0 {
		return m, errors.New("read the server's memory: nothing is said of it")
	}
	return m, nil
}
