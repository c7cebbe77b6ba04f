//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"syscall"
	"time"
)

var errLinux = errors.New("not measured: pinning and CPU accounting are Linux's")

func allowedCPUs() ([]int, error)        { return nil, errLinux }
func pinSelf([]int) error                { return errLinux }
func startPinned(*exec.Cmd, []int) error { return errLinux }
func ownGroup() *syscall.SysProcAttr     { return nil }
func members(int) ([]int, error)         { return nil, errLinux }
func cpuTime(int) (time.Duration, error) { return 0, errLinux }
func memory(int) (int64, error)          { return 0, errLinux }
func yielding(int) error                 { return errLinux }
func exactTimers()                       {}
func sleepUntil(at time.Time)            { time.Sleep(time.Until(at)) }
func kernel() string                     { return "unknown" }
