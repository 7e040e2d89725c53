package bench

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestProcess_TellsWhyItCannotBeRead(t *testing.T) {
	if _, err := cpuOf(0); !errors.Is(err, errNoProcess) {
		t.Errorf("CPU of no process: error %v", err)
	}
	if _, err := memoryOf(0); !errors.Is(err, errNoProcess) {
		t.Errorf("memory of no process: error %v", err)
	}
	const nobody = 1 << 30
	if _, err := cpuOf(nobody); err == nil {
		t.Error("a process that is not there has CPU time")
	}
	if _, err := memoryOf(nobody); err == nil {
		t.Error("a process that is not there has memory")
	}
}

func TestProcess_IsReadOnLinux(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	for start := time.Now(); time.Since(start) < 50*time.Millisecond; {
		_ = make([]byte, 1<<16)
	}
	if cpu, err := cpuOf(os.Getpid()); err != nil || cpu < 20*time.Millisecond {
		t.Errorf("own CPU time %v, error %v", cpu, err)
	}
	if m, err := memoryOf(os.Getpid()); err != nil || m.resident < 1<<20 || m.proportional > m.resident {
		t.Errorf("own memory %+v, error %v", m, err)
	}
}
