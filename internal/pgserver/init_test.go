//go:build unix

package pgserver

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestStart_OverlooksInterruptedInit(t *testing.T) {
	data := folder(t)
	half := filepath.Join(data, "cluster.new-123", "data")
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, "PG_VERSION"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, Config{Data: data})
	if _, err := os.Stat(half); err == nil {
		t.Error("the half made cluster is still there")
	}
}

func TestOnce_BuildsForAll(t *testing.T) {
	target := filepath.Join(t.TempDir(), "target")
	var built atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := once(t.Context(), target, func(dir string) error {
				built.Add(1)
				return os.WriteFile(filepath.Join(dir, "whole"), nil, 0o600)
			})
			if err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(target, "whole")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := built.Load(); n != 1 {
		t.Errorf("built %d times", n)
	}
}
