//go:build unix

package mtls

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// withFileLock runs f while it holds an exclusive lock on path. The kernel
// drops the lock of a process that dies.
func withFileLock(path string, f func() error) error {
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock file: %w", err)
	}
	defer lock.Close() // which also unlocks
	for {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	return f()
}
