//go:build !linux

package torture

import "syscall"

// dieWithParent has a node die when its test is killed, where that can be had.
func dieWithParent() *syscall.SysProcAttr { return nil }
