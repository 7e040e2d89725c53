//go:build !linux

package main

import "net"

// connectFrom does nothing: elsewhere only 127.0.0.1 is loopback.
func connectFrom(*net.Dialer, net.IP) {}
