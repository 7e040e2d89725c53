//go:build unix && !linux

package pgserver

// MemoryFolder returns "": there is no folder in memory.
func MemoryFolder() string { return "" }
