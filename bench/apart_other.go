//go:build !linux

package main

import "syscall"

// apart keeps Ctrl-C in a terminal from a child, which is ended when its time has
// come.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
