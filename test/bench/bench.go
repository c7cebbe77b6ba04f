package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Bench is one run: what all scenarios share.
type Bench struct {
	ctx      context.Context
	opts     options
	progress io.Writer
	dir      string
	tools    tools
	busy     string // the load average before the run
	cpus     cpus
	files    uint64 // how many descriptors a process may open
	lintel   string // the binary under test
	Cert     certFiles
	Tokens   *tokens
	Backend  *Backend
	Bulk     string // what greedy clients ask for is served here, in a scenario that has some
	stop     []func()
}

// newBench looks at the machine, builds Lintel and starts the backend.
func newBench(ctx context.Context, o options, progress io.Writer) (*Bench, error) {
	b := &Bench{ctx: ctx, opts: o, progress: progress}
	if err := b.prepare(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *Bench) prepare() error {
	var err error
	if b.cpus, err = splitCPUs(b.opts.cores); err != nil {
		return err
	}
	b.busy = loadAverage()
	b.say("load average %s; whatever else runs here makes figures spread", b.busy)
	b.tools = findTools(b.progress)
	b.tools.peers(b.progress)
	if b.dir, err = os.MkdirTemp("", "lintel-bench-"); err != nil {
		return err
	}
	b.stop = append(b.stop, func() { _ = os.RemoveAll(b.dir) })
	if err := b.build(); err != nil {
		return err
	}
	// Only now, so that the compiler had all cores. What is started later
	// inherits the load's cores, unless it is pinned elsewhere.
	b.stop = append(b.stop, func() { _ = pinSelf(slices.Concat(b.cpus.proxy, b.cpus.load)) })
	if err := pinSelf(b.cpus.load); err != nil {
		return fmt.Errorf("pinning load and backend to CPUs %v: %w", b.cpus.load, err)
	}
	if b.files, err = raiseFiles(); err != nil {
		return err
	}
	if b.Cert, err = newCertFiles(b.dir); err != nil {
		return err
	}
	if b.Tokens, err = newTokens(b.dir); err != nil {
		return err
	}
	b.Backend, err = startBackend(b)
	return err
}

// close undoes everything, the last first.
func (b *Bench) close() {
	for i := len(b.stop) - 1; i >= 0; i-- {
		b.stop[i]()
	}
	b.stop = nil
}

func (b *Bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, format+"\n", args...)
}

// build makes the lintel under test as `make build` does, or takes the given one.
func (b *Bench) build() error {
	b.lintel = b.opts.lintel
	if b.lintel == "" {
		b.say("building lintel (the first time takes a while)")
		b.lintel = filepath.Join(b.dir, "lintel")
		cmd := exec.CommandContext(b.ctx, "go", "build", "-trimpath", "-o", b.lintel, "lintel.dev/lintel/cmd/lintel")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build ./cmd/lintel: %w\n%s(run it from Lintel's source, or give a binary with --lintel)", err, out)
		}
	}
	out, err := exec.CommandContext(b.ctx, b.lintel, "version").Output()
	if err != nil {
		return fmt.Errorf("--lintel %s: it does not run as lintel does: %w", b.lintel, err)
	}
	b.tools["lintel"] = tool{path: b.lintel, version: strings.TrimSpace(string(out))}
	b.say("lintel: %s", b.tools["lintel"].version)
	return nil
}

// machine is a line for the report: figures mean little without it.
func (b *Bench) machine() string {
	model := "unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d CPUs (proxy on %v, load and backend on %v), %s %s, %s; %s; load average %s before", model, runtime.NumCPU(),
		b.cpus.proxy, b.cpus.load, runtime.GOOS, kernel(), runtime.Version(), b.tools.versions(), b.busy)
}

// raiseFiles lets this process, and those it starts, open what the system
// allows. Go raises its own limit only, hence the explicit call.
func raiseFiles() (uint64, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("reading the limit of open files: %w", err)
	}
	l.Cur = min(l.Max, 1<<20)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("raising the limit of open files to %d: %w", l.Cur, err)
	}
	return l.Cur, nil
}

// sleep waits for d unless the run is over.
func (b *Bench) sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return errors.New("interrupted")
	case <-time.After(d):
		return nil
	}
}

// loadAverage is that of the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
