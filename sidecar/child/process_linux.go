package child

import (
	"os"
	"syscall"
)

// attributes give the app a process group of its own, so that a terminal's
// Ctrl-C reaches the sidecar alone, which ends both in order; and have it told to
// end when the sidecar is killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// killAll kills the app's process group.
func killAll(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
