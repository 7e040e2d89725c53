//go:build !linux

package bench

import "syscall"

// apart keeps Ctrl-C in a terminal from a child, which is ended when its time has
// come.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
