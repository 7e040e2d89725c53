//go:build !linux

package sse

import "errors"

// watch is for Linux only; elsewhere each Socket has a goroutine that reads.
type watch struct{}

func newWatch() (*watch, error)                  { return nil, nil }
func (*watch) add(int, listener) (func(), error) { return nil, errors.ErrUnsupported }
func (*watch) run()                              {}
func (*watch) close()                            {}
