package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func allowedCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("asking which CPUs may be used: %w", err)
	}
	var list []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			list = append(list, i)
		}
	}
	return list, nil
}

func cpuSet(list []int) *unix.CPUSet {
	var set unix.CPUSet
	for _, c := range list {
		set.Set(c)
	}
	return &set
}

// pinSelf moves every thread of this process; threads and processes made later
// inherit it.
func pinSelf(list []int) error {
	dir, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, d := range dir {
		tid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(tid, cpuSet(list)); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}

// startPinned starts cmd on the given CPUs, from its first instruction on: Go
// programs count the CPUs when they start. A child inherits the CPUs of the
// thread that makes it, so that thread goes there for a moment.
func startPinned(cmd *exec.Cmd, list []int) error {
	runtime.LockOSThread()
	var own unix.CPUSet
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	if err := unix.SchedSetaffinity(0, cpuSet(list)); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err := cmd.Start()
	if back := unix.SchedSetaffinity(0, &own); back != nil {
		return fmt.Errorf("a thread could not go back to its CPUs: %w", back) // it stays locked: no other goroutine may land there
	}
	runtime.UnlockOSThread()
	return err
}

// ownGroup lets a process and all its children be found and ended together, and
// ends it should this process die.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// stat is what /proc/PID/stat says after the name, which may hold spaces.
func stat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	i := strings.LastIndexByte(string(text), ')')
	f := strings.Fields(string(text)[i+1:])
	if i < 0 || len(f) < 13 {
		return nil, fmt.Errorf("/proc/%d/stat: expected 15 fields or more, found %q", pid, text)
	}
	return f, nil
}

// members are the processes of a group: a master and its workers.
func members(group int) ([]int, error) {
	dir, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, d := range dir {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		f, err := stat(pid)
		if err == nil && f[2] == strconv.Itoa(group) && f[0] != "Z" {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("process group %d has ended", group)
	}
	return pids, nil
}

// cpuTime is what a process used so far, user and system, ended threads
// included: utime + stime of /proc/PID/stat. Those are rounded to ticks of
// 10 ms, so the same account is read through the process's CPU clock, in
// nanoseconds, where the kernel lets us.
func cpuTime(pid int) (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED of the kernel's posix-timers.h
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &ts); err == nil {
		return time.Duration(ts.Nano()), nil
	}
	return tickTime(pid)
}

func tickTime(pid int) (time.Duration, error) {
	f, err := stat(pid)
	if err != nil {
		return 0, err
	}
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	if err != nil {
		return 0, err
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all that Go runs on
	return time.Duration(user+system) * tick, nil
}

// memory is a process's resident set in bytes.
func memory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm: expected 2 fields or more, found %q", pid, text)
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// yielding lets everything else on its CPUs go before a group of processes,
// threads that they start later included.
func yielding(group int) error {
	pids, err := members(group)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		dir, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		for _, d := range dir {
			tid, err := strconv.Atoi(d.Name())
			if err != nil {
				continue
			}
			attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
			if err := unix.SchedSetAttr(tid, &attr, 0); err != nil && err != unix.ESRCH {
				return fmt.Errorf("sched_setattr: %w", err)
			}
		}
	}
	return nil
}

// exactTimers lets this thread's sleeps end to the microsecond; 50 are the default.
func exactTimers() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

func sleepUntil(at time.Time) {
	for {
		d := time.Until(at)
		if d <= 0 {
			return
		}
		ts := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&ts, nil) // early after a signal: the loop sees to it
	}
}

// kernel is its release.
func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
