package kit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var binary struct {
	once sync.Once
	path string
	err  error
}

// Binary builds the real lintel once per test process and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		dir, err := os.MkdirTemp("", "lintel-bin-")
		if err != nil {
			binary.err = err
			return
		}
		binary.path = filepath.Join(dir, "lintel")
		args := []string{"build", "-tags", buildTags, "-o", binary.path}
		if os.Getenv("LINTEL_TEST_RACE") != "" {
			args = append(args, "-race") // several times slower, so only when asked for
		}
		cmd := exec.Command("go", append(args, "lintel.dev/lintel/cmd/lintel")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatalf("kit: %v", binary.err)
	}
	return binary.path
}

// Clean removes what Binary built; TestMain calls it last.
func Clean() {
	if binary.path != "" {
		_ = os.RemoveAll(filepath.Dir(binary.path))
	}
}

// Process is a running lintel.
type Process struct {
	t      testing.TB
	cmd    *exec.Cmd
	name   string
	Stdout *Output
	Stderr *Output
	done   chan struct{}
	err    error
}

// Output is what a process has written so far.
type Output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Start runs lintel with args and kills it when the test ends. Its output is
// shown when the test fails.
func Start(t testing.TB, env []string, args ...string) *Process {
	t.Helper()
	return StartIn(t, nil, env, args...)
}

// StartIn is Start on another host: nil is the machine itself.
func StartIn(t testing.TB, host *Host, env []string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, name: "lintel " + strings.Join(args, " "), Stdout: &Output{}, Stderr: &Output{}, done: make(chan struct{})}
	p.cmd = host.Command(Binary(t), args...)
	// A killed process leaves its temporary files; a short path, for sockets.
	tmp, err := os.MkdirTemp("", "lk")
	if err != nil {
		t.Fatalf("kit: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	p.cmd.Env = append(append(os.Environ(), "TMPDIR="+tmp), env...)
	read := p.pipes()
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("kit: %s: %v", p.name, err)
	}
	_ = p.cmd.Stdout.(*os.File).Close()
	_ = p.cmd.Stderr.(*os.File).Close()
	go func() {
		p.err = p.cmd.Wait()
		select {
		case <-read:
		case <-time.After(heirs): // a process that it left behind holds them open
		}
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if says := p.Stderr.String(); strings.Contains(says, "WARNING: DATA RACE") || strings.HasPrefix(says, "panic: ") || strings.Contains(says, "\npanic: ") {
			t.Errorf("%s: a data race (GOFLAGS=-race builds for them) or a panic", p.name)
		}
		if t.Failed() {
			t.Logf("%s\nstdout (tail): %s\nstderr (tail): %s", p.name, tail(p.Stdout.String()), tail(p.Stderr.String()))
		}
	})
	return p
}

// heirs is how long the output of a process that has ended may stay open: it may
// have started another, which goes on writing.
const heirs = 500 * time.Millisecond

// pipes has the process's output read until all who write to it have ended, which
// read tells.
func (p *Process) pipes() (read chan struct{}) {
	var reading sync.WaitGroup
	pipe := func(to *Output) *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			p.t.Fatalf("kit: %v", err)
		}
		reading.Go(func() { _, _ = io.Copy(to, r) })
		p.t.Cleanup(func() { _ = r.Close() })
		return w
	}
	p.cmd.Stdout, p.cmd.Stderr = pipe(p.Stdout), pipe(p.Stderr)
	read = make(chan struct{})
	go func() { reading.Wait(); close(read) }()
	return read
}

func tail(s string) string {
	if len(s) > 6000 {
		return "…" + s[len(s)-6000:]
	}
	return s
}

// Signal sends one.
func (p *Process) Signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// Kill ends it at once.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Wait waits for the end and returns the exit code.
func (p *Process) Wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		p.t.Fatalf("%s did not end within %s", p.name, limit)
		return -1
	}
}

// Running reports whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Ready waits until /readyz at admin answers 200.
func (p *Process) Ready(admin string) *Process {
	p.t.Helper()
	Eventually(p.t, 90*time.Second, p.name+" is ready", func() error {
		if !p.Running() {
			p.t.Fatalf("%s ended: %v\n%s", p.name, p.err, tail(p.Stderr.String()))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			b, _ := io.ReadAll(res.Body)
			return fmt.Errorf("readyz: %d %s", res.StatusCode, b)
		}
		return nil
	})
	return p
}

// Eventually polls check until it answers nil or limit is over.
func Eventually(t testing.TB, limit time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// ports are those that FreeAddr has given out, each with what claims it.
var ports sync.Map

// FreeAddr is a loopback address nothing listens on, and that no other test
// process is given. It lies below the range from which the system takes the
// ports of outgoing connections, so that none of those gets in between.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(12000 + rand.IntN(20000))
		if _, taken := ports.LoadOrStore(port, nil); taken {
			continue
		}
		claim, err := claimPort(port)
		if err != nil {
			continue
		}
		ports.Store(port, claim) // held for as long as this process lives
		addr := net.JoinHostPort("127.0.0.1", port)
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("kit: no free port found")
	return ""
}

// claimPort keeps other test processes off a port that nobody listens on yet,
// by a name that ends with this process. Only Linux has such names.
func claimPort(port string) (io.Closer, error) {
	if runtime.GOOS != "linux" {
		return nil, nil
	}
	return net.Listen("unix", "@lintel-test-port-"+port)
}

// File writes text to a file of the test's and returns its path.
func File(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Replace puts text in place of a file atomically, as a deployment would.
func Replace(t testing.TB, path, text string) {
	t.Helper()
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}
