package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// postmaster is the process of the database's Postgres that is the parent of all
// others, or why it is not known.
func (b *bench) postmaster(ctx context.Context) (pid int, unknown string) {
	var backend int
	err := b.target.admin.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&backend)
	if err == nil {
		var s processStat
		if s, err = statOf(backend); err == nil && s.name != "postgres" {
			err = errors.New("the database is on another machine")
		}
		pid = s.parent
	}
	if err != nil {
		return 0, fmt.Sprintf("not measured: the processes of Postgres are not found: %v", err)
	}
	return pid, ""
}

// tree is the CPU time, in user and in system mode, of a process and its children.
type tree struct {
	// used is by process, reaped that of children that have ended.
	used   map[int]time.Duration
	reaped time.Duration
}

// treeOf reads /proc. It is empty where there is none, or no such process.
func treeOf(pid int) tree {
	t := tree{used: map[int]time.Duration{}}
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		child, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			continue
		}
		s, err := statOf(child) // it may have ended
		if err != nil || child != pid && s.parent != pid {
			continue
		}
		if child == pid {
			t.reaped = s.reaped
		}
		if precise, ok := preciseOf(child); ok {
			s.used = precise
		}
		t.used[child] = s.used
	}
	return t
}

// since returns the usage between two samples. A child that has ended in between counts
// whole, less its usage before.
func (t tree) since(before tree) (used time.Duration) {
	used = t.reaped - before.reaped
	for pid, total := range t.used {
		used += total - before.used[pid]
	}
	for pid, total := range before.used {
		if _, lives := t.used[pid]; !lives {
			used -= total
		}
	}
	return used
}

// processStat is the state of a process in /proc.
type processStat struct {
	name         string
	parent       int
	used, reaped time.Duration
}

// statOf reads /proc/pid/stat, whose times are of all threads, in steps of 10 ms
// (proc(5)).
func statOf(pid int) (s processStat, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, err
	}
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return s, fmt.Errorf("read a process: %q", text)
	}
	s.name = string(text[open+1 : end])
	// state ppid …; utime, stime, cutime and cstime are the 14th to 17th of all.
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 15 {
		return s, fmt.Errorf("read a process: %q", text)
	}
	var numbers [5]int64
	for i, at := range []int{1, 11, 12, 13, 14} {
		if numbers[i], err = strconv.ParseInt(fields[at], 10, 64); err != nil {
			return s, fmt.Errorf("read a process: %w", err)
		}
	}
	s.parent = int(numbers[0])
	s.used = time.Duration(numbers[1]+numbers[2]) * time.Second / ticksPerSecond
	s.reaped = time.Duration(numbers[3]+numbers[4]) * time.Second / ticksPerSecond
	return s, nil
}

// preciseOf reads /proc/pid/schedstat where it is there: the time in ns that the main
// thread, which is the only one of a process of Postgres, was on a CPU.
func preciseOf(pid int) (used time.Duration, ok bool) {
	if pid == 0 {
		return 0, false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	fields := strings.Fields(string(text))
	if err != nil || len(fields) != 3 {
		return 0, false
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	return time.Duration(n), err == nil && n > 0
}
