package main

import (
	"fmt"
	"syscall"
)

// spareFiles is how many files a process has open in addition to its streams.
const spareFiles = 500

// allowFiles raises the limit of open files, which a server that is started then
// inherits, so that there can be as many streams.
func allowFiles(streams int) error {
	need := uint64(streams + spareFiles)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	if limit.Cur >= need {
		return nil
	}
	raised := syscall.Rlimit{Cur: need, Max: max(limit.Max, need)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		return fmt.Errorf("%d streams need a limit of %d open files, it is %d (ulimit -Hn): %w", streams, need, limit.Max, err)
	}
	return nil
}
