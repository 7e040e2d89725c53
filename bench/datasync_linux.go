package main

import (
	"os"
	"syscall"
)

// dataSync is what Postgres calls by default on Linux.
func dataSync(file *os.File) error { return syscall.Fdatasync(int(file.Fd())) }
