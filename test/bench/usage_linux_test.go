package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestCPUTimeIsWhatProcStatSays, only finer.
func TestCPUTimeIsWhatProcStatSays(t *testing.T) {
	own := os.Getpid()
	for sum, used := uint64(0), time.Duration(0); used < 100*time.Millisecond; {
		for i := range uint64(1e6) {
			sum += i * i
		}
		before, err := tickTime(own)
		if err != nil {
			t.Fatal(err)
		}
		if used, err = cpuTime(own); err != nil {
			t.Fatal(err)
		}
		after, err := tickTime(own)
		if err != nil {
			t.Fatal(err)
		}
		// User and system time are each cut off to ticks.
		if used < before-20*time.Millisecond || used > after+30*time.Millisecond {
			t.Fatalf("the clock says %v, /proc/self/stat %v before and %v after", used, before, after)
		}
	}
	if _, err := cpuTime(1 << 22); err == nil { // more than a pid can be
		t.Error("a process that is not there used time")
	}
}

func TestMemoryAndGroupOfAChild(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 60 & sleep 60 & wait")
	cmd.SysProcAttr = ownGroup()
	cpus, err := allowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	if err := startPinned(cmd, cpus[:1]); err != nil {
		t.Fatal(err)
	}
	p := &Process{Name: "sh", cmd: cmd, group: cmd.Process.Pid, ended: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.ended) }()
	defer p.end()
	var pids []int
	for until := time.Now().Add(20 * time.Second); len(pids) < 3 && time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if pids, err = members(p.group); err != nil {
			t.Fatal(err)
		}
	}
	if len(pids) != 3 {
		t.Errorf("%d processes, want the shell and two children", len(pids))
	}
	if n, err := p.rss(); err != nil || n < 10<<10 {
		t.Errorf("resident: %d bytes, %v", n, err)
	}
	p.end()
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if pids, err = members(p.group); err != nil {
			break // all of them ended
		}
		if time.Now().After(until) {
			t.Fatalf("still there: %v", pids)
		}
	}
	if _, err := p.cpu(); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("CPU time of what has ended: %v", err)
	}
}

func TestAChildIsPinnedFromItsStart(t *testing.T) {
	before, err := allowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	last := before[len(before)-1]
	var out bytes.Buffer
	cmd := exec.Command("grep", "Cpus_allowed_list", "/proc/self/status")
	cmd.Stdout = &out
	if err := startPinned(cmd, []int{last}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if f := strings.Fields(out.String()); len(f) != 2 || f[1] != fmt.Sprint(last) {
		t.Errorf("the child may use %q, want %d", out.String(), last)
	}
	if after, err := allowedCPUs(); err != nil || fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("this process may use %v, before it was %v (%v)", after, before, err)
	}
}
