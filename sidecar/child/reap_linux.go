package child

import (
	"os"
	"os/signal"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reap collects the ended processes that others left to this one, which happens
// to process 1 of a container, until stop is called. The app itself is left to
// whoever waits for it.
func Reap(app int) (stop func()) {
	if os.Getpid() != 1 {
		return func() {}
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-ended:
				for collect(app) {
				}
			}
		}
	}()
	return func() {
		signal.Stop(ended)
		close(done)
	}
}

// collect takes one ended process that is not the app, and reports whether there
// may be more.
func collect(app int) bool {
	var info unix.Siginfo
	// Only looked at: were it the app, its exit code would be gone.
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil {
		return err == unix.EINTR
	}
	// si_pid is the first word after the three of the head, where a pointer would
	// be aligned; x/sys does not name it.
	const head = 3 * unsafe.Sizeof(int32(0))
	const at = (head + unsafe.Sizeof(uintptr(0)) - 1) &^ (unsafe.Sizeof(uintptr(0)) - 1)
	pid := int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), at)))
	if pid <= 0 || pid == app {
		return false
	}
	_, err = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	return err == nil
}
