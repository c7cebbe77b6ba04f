package child

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Exit codes of an app that could not be started, as shells have them (POSIX,
// Shell Command Language 2.8.2).
const (
	CannotRun = 126
	NotFound  = 127
)

// Exit says that the app has ended, or could not be started, and with which
// code the sidecar is to end.
type Exit struct {
	Code int
	Err  error // why it could not be started; nil once it has run
}

func (e *Exit) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return fmt.Sprintf("the app ended with exit code %d", e.Code)
}

func (e *Exit) Unwrap() error { return e.Err }

// Command is what to run.
type Command struct {
	Args   []string // the program and its arguments
	Env    []string // added to the sidecar's own environment
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

// Child is a running app.
type Child struct {
	cmd  *exec.Cmd
	done chan struct{}
	code int
}

// private are variables that speak of the sidecar's own process and would
// mislead the app's.
var private = []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}

// Start runs the app. Its error is an *Exit.
func Start(c Command) (*Child, error) {
	path, err := exec.LookPath(c.Args[0])
	if err != nil {
		return nil, cannotStart(c.Args[0], err)
	}
	p := &Child{cmd: exec.Command(path), done: make(chan struct{})}
	p.cmd.Args = c.Args
	p.cmd.Env = environment(os.Environ(), c.Env)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	p.cmd.SysProcAttr = attributes()
	// A process that forks children under it with grandchildren must not keep us
	// waiting for their output once it has ended itself.
	p.cmd.WaitDelay = time.Second
	started := make(chan error, 1)
	go func() {
		// Linux sends the signal of a parent's death when the thread that forked
		// dies: it must not before the app.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := p.cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		_ = p.cmd.Wait() // its state says how it went
		p.code = codeOf(p.cmd.ProcessState)
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, cannotStart(c.Args[0], err)
	}
	return p, nil
}

func cannotStart(name string, err error) *Exit {
	code := CannotRun
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = NotFound
	}
	return &Exit{Code: code, Err: fmt.Errorf("cannot start the app %q: %w", name, err)}
}

func environment(own, added []string) []string {
	env := slices.DeleteFunc(slices.Clone(own), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.Contains(private, name)
	})
	return append(env, added...)
}

// codeOf is the exit code, or 128 and the number of the signal that ended it.
func codeOf(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}

// PID is the app's process id.
func (p *Child) PID() int { return p.cmd.Process.Pid }

// Done is closed when the app has ended; never, when there is none.
func (p *Child) Done() <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.done
}

// Code is the app's exit code, once it has ended: 128 and the signal's number if
// one ended it.
func (p *Child) Code() int {
	<-p.done
	return p.code
}

// Signal passes a signal on, when there is an app.
func (p *Child) Signal(sig os.Signal) {
	if p != nil {
		_ = p.cmd.Process.Signal(sig)
	}
}

// Stop asks the app to end and kills it, with whatever it has started, when it
// has not within grace. It reports whether that was needed.
func (p *Child) Stop(grace time.Duration) (killed bool) {
	p.Signal(syscall.SIGTERM)
	limit := time.NewTimer(grace)
	defer limit.Stop()
	select {
	case <-p.done:
		return false
	case <-limit.C:
	}
	killAll(p.cmd.Process)
	<-p.done
	return true
}
