//go:build !windows

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"

	"lintel.dev/lintel/proxy/listen"
)

// takeOverWithin is how long a new process has to become ready. Identity and
// discovery may be waited for.
const takeOverWithin = 5 * time.Minute

// forApp are the signals an app gets from its sidecar; SIGTERM comes when it is
// to end.
var forApp = []os.Signal{syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH}

// handover gives the listening sockets to a new process on SIGUSR2: the program
// at the same path, with the same arguments, so that a new binary takes over
// without refusing a connection. The old one goes on when the new one does not
// become ready.
type handover struct {
	sockets *tableflip.Upgrader
	asked   chan os.Signal
	over    chan struct{} // a new process is ready
	ending  chan struct{} // this one drains
	once    sync.Once
}

func newHandover(pidFile string, log *slog.Logger) (*handover, error) {
	if err := writablePIDFile(pidFile); err != nil {
		return nil, usageError{err}
	}
	u, err := tableflip.New(tableflip.Options{UpgradeTimeout: takeOverWithin, PIDFile: pidFile, ListenConfig: listen.Config()})
	if err != nil {
		return nil, fmt.Errorf("taking over from the process before: %w", err)
	}
	h := &handover{sockets: u, asked: make(chan os.Signal, 1), over: make(chan struct{}), ending: make(chan struct{})}
	go func() {
		<-u.Exit() // also when it was stopped
		select {
		case <-h.ending:
		default:
			close(h.over)
		}
	}()
	signal.Notify(h.asked, syscall.SIGUSR2)
	go func() {
		for range h.asked {
			select {
			case <-u.Exit():
				log.Info("handover: this process is on its way out already")
				continue
			default:
			}
			log.Info("handover: starting a new process")
			if err := u.Upgrade(); err != nil {
				log.Error("handover: the new process did not become ready; this one goes on", "error", err)
			}
		}
	}()
	return h, nil
}

// writablePIDFile finds before anything is served what would keep the process id
// from being written once it is: whoever asks for a handover would ask the wrong
// process, or none. The file is made elsewhere in the folder and moved, so a link
// that stands there is replaced and never followed.
func writablePIDFile(path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return fmt.Errorf("--pid-file %s: it is a folder", path)
	}
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, name)
	if err != nil {
		return fmt.Errorf("--pid-file %s: no file can be written there: %w", path, errors.Unwrap(err))
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// opener opens listeners, on the old process's sockets where it had them.
func (h *handover) opener() listen.Opener {
	if h == nil {
		return nil
	}
	return h.sockets.Listen
}

// done is closed once a new process is ready.
func (h *handover) done() <-chan struct{} {
	if h == nil {
		return nil
	}
	return h.over
}

// ready has the old process, if there is one, drain and end.
func (h *handover) ready() error {
	if h == nil {
		return nil
	}
	return h.sockets.Ready()
}

// stop closes the sockets kept for a new process: a listener that is closed would
// still be connected to through them.
func (h *handover) stop() {
	if h != nil {
		h.once.Do(func() {
			close(h.ending)
			h.sockets.Stop()
			<-h.sockets.Exit()
		})
	}
}
