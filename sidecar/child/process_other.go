//go:build !linux

package child

import (
	"os"
	"syscall"
)

func attributes() *syscall.SysProcAttr { return nil }

func killAll(p *os.Process) { _ = p.Kill() }
