package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Program is how one kind of process is run.
type Program struct {
	Tool string // its name among the tools
	File string // what its configuration is called
	Args func(file, dir string) []string
}

var (
	lintelIngress = &Program{"lintel", "lintel.yaml", func(file, _ string) []string { return []string{"ingress", "-c", file} }}
	lintelSidecar = &Program{"lintel", "lintel.yaml", func(file, _ string) []string { return []string{"sidecar", "-c", file} }}
	nginx         = &Program{"nginx", "nginx.conf", func(file, dir string) []string {
		return []string{"-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", file}
	}}
	haproxy = &Program{"haproxy", "haproxy.cfg", func(file, _ string) []string { return []string{"-db", "-f", file} }}
	caddy   = &Program{"caddy", "Caddyfile", func(file, _ string) []string {
		return []string{"run", "--adapter", "caddyfile", "--config", file}
	}}
)

// Process is one running program with its children.
type Process struct {
	Name  string
	Place Place
	File  string // its configuration
	cmd   *exec.Cmd
	group int
	ended chan struct{}
	stop  sync.Once
}

// launch writes the configuration into p.Dir and starts the program on the given CPUs.
func (b *Bench) launch(prog *Program, config string, p Place, on []int) (*Process, error) {
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(p.Dir, prog.File)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	t := b.tools[prog.Tool]
	cmd := exec.Command(t.path, prog.Args(file, p.Dir)...)
	cmd.Dir = p.Dir
	// One P per core it may use, for Go programs; a home of its own for Caddy.
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", len(on)), "HOME="+p.Dir, "XDG_DATA_HOME="+p.Dir, "XDG_CONFIG_HOME="+p.Dir)
	cmd.SysProcAttr = ownGroup()
	var err error
	out := func(name string) io.Writer {
		f, ferr := os.OpenFile(filepath.Join(p.Dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if ferr != nil {
			err = ferr
			return io.Discard
		}
		return f
	}
	cmd.Stdout, cmd.Stderr = out("out.log"), out("err.log")
	if err != nil {
		return nil, err
	}
	err = startPinned(cmd, on)
	for _, w := range []io.Writer{cmd.Stdout, cmd.Stderr} {
		_ = w.(*os.File).Close() // the child has its own
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", prog.Tool, err)
	}
	proc := &Process{Name: prog.Tool, Place: p, File: file, cmd: cmd, group: cmd.Process.Pid, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(proc.ended)
	}()
	return proc, nil
}

// end kills the process and its children; nothing of it is worth a farewell.
func (p *Process) end() {
	p.stop.Do(func() {
		_ = syscall.Kill(-p.group, syscall.SIGKILL)
		<-p.ended
	})
}

// cpu is what the process and its children used so far.
func (p *Process) cpu() (time.Duration, error) {
	pids, err := members(p.group)
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", p.Name, err, p.tail())
	}
	var sum time.Duration
	for _, pid := range pids {
		t, err := cpuTime(pid)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

func (p *Process) rss() (int64, error) {
	pids, err := members(p.group)
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", p.Name, err, p.tail())
	}
	var sum int64
	for _, pid := range pids {
		n, err := memory(pid)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// tail is the end of what the process complained about; of a crash, its beginning.
func (p *Process) tail() string {
	var all string
	for _, name := range []string{"err.log", "error.log"} {
		if b, err := os.ReadFile(filepath.Join(p.Place.Dir, name)); err == nil {
			all += string(b)
		}
	}
	const limit = 800
	for _, mark := range []string{"panic: ", "fatal error: "} {
		if i := strings.Index(all, mark); i >= 0 {
			return all[i:min(len(all), i+2*limit)]
		}
	}
	if len(all) > limit {
		all = "…" + all[len(all)-limit:]
	}
	return strings.TrimSpace(all)
}

// forget empties the logs, access logs above all, between rounds.
func (p *Process) forget() { _ = os.Truncate(filepath.Join(p.Place.Dir, "out.log"), 0) }

// probe asks until the answer is 200.
func probe(ctx context.Context, url string, header http.Header, until time.Duration, dead <-chan struct{}) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, until)
	defer cancel()
	tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	var last error
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return 0, err
		}
		if h := header.Get("Host"); h != "" {
			req.Host = h
		}
		for name, values := range header {
			req.Header[name] = values
		}
		res, err := tr.RoundTrip(req)
		if err == nil {
			n, rerr := io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK && rerr == nil {
				return n, nil
			}
			err = fmt.Errorf("%s, %v", res.Status, rerr)
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("GET %s: no 200 within %v: %w", url, until, last)
		case <-dead:
			return 0, fmt.Errorf("GET %s: the process ended: %w", url, last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
