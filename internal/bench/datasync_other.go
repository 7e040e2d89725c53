//go:build !linux

package bench

import "os"

func dataSync(file *os.File) error { return file.Sync() }
