package main

import (
	"errors"
	"os"
	"os/exec"
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

func TestTree_CountsChildrenThatLiveAndThatHaveEnded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	const spin = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
	before := treeOf(os.Getpid())
	if err := exec.CommandContext(t.Context(), "sh", "-c", spin).Run(); err != nil {
		t.Fatal(err)
	}
	ended := treeOf(os.Getpid()).since(before)
	if ended < 20*time.Millisecond {
		t.Errorf("a child that has ended used %v", ended)
	}
	living := exec.CommandContext(t.Context(), "sh", "-c", spin+"; read line || true")
	in, err := living.StdinPipe()
	if err == nil {
		err = living.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	before = treeOf(os.Getpid())
	for start := time.Now(); treeOf(os.Getpid()).since(before) < ended/4; time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("a living child used %v, one that has ended %v", treeOf(os.Getpid()).since(before), ended)
		}
	}
	in.Close()
	if err := living.Wait(); err != nil {
		t.Error(err)
	}
	if used := treeOf(os.Getpid()).since(before); used < -50*time.Millisecond {
		t.Errorf("the end of a child took %v back", used)
	}
}
