//go:build !unix

package sse

func writeNow(int, []byte) (int, error) { return 0, nil }
