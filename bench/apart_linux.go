package main

import "syscall"

// apart keeps Ctrl-C in a terminal from a child, which is ended when its time has
// come, and ends it when this process is killed.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
