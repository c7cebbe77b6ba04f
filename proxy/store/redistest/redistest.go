// Package redistest runs real Redis servers for tests, and what goes wrong
// between them and us.
package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
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

// Server is a redis-server of one test.
type Server struct {
	t    testing.TB
	dir  string
	addr string
	args []string
	cmd  *exec.Cmd
}

// Start runs a redis-server with further arguments until the test ends.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, dir: dir, args: args, addr: FreeAddr(t)}
	t.Cleanup(func() {
		s.Stop()
		_ = os.RemoveAll(dir)
	})
	s.Restart()
	return s
}

// claims are ports given out, for as long as this process lives.
var claims sync.Map

// FreeAddr is a loopback address that nobody listens on and no other test
// process is given; with its port plus 10000, where a cluster's nodes talk. Both
// lie below the range that outgoing connections take theirs from.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := 12000 + rand.IntN(10000)
		if claim(port) && claim(port+10000) {
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		}
	}
	t.Fatal("redistest: no free port")
	return ""
}

// claim keeps other test processes off a port, on Linux by a name that ends with
// this process.
func claim(port int) bool {
	if _, taken := claims.LoadOrStore(port, nil); taken {
		return false
	}
	if runtime.GOOS == "linux" {
		name, err := net.Listen("unix", "@lintel-test-port-"+strconv.Itoa(port))
		if err != nil {
			return false
		}
		claims.Store(port, name)
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

// Addr is where it listens, also while it is stopped.
func (s *Server) Addr() string { return s.addr }

// Port is the port of Addr.
func (s *Server) Port() string {
	_, port, _ := net.SplitHostPort(s.addr)
	return port
}

// Restart runs it anew, empty, at the same address, and waits until it answers.
func (s *Server) Restart() {
	s.t.Helper()
	args := append([]string{"--port", s.Port(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--enable-debug-command", "yes", "--dir", s.dir}, s.args...)
	s.cmd = exec.Command("redis-server", args...)
	out := &strings.Builder{}
	s.cmd.Stdout = out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("redistest: %v: tests need a real redis-server", err)
	}
	WaitFor(s.t, "redis-server", func() error {
		_, err := s.do("PING")
		if err != nil && strings.HasPrefix(err.Error(), "NOAUTH") {
			return nil
		}
		return err
	})
}

// Stop kills it.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Freeze holds it up without closing anything; Thaw lets it go on.
func (s *Server) Freeze() { _ = s.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (s *Server) Thaw() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }

// Do sends one command and returns the answer's first line, an error reply as
// an error.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	line, err := s.do(args...)
	if err != nil {
		s.t.Fatalf("redistest: %v: %v", args, err)
	}
	return line
}

func (s *Server) do(args ...string) (string, error) {
	c, err := net.DialTimeout("tcp", s.addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := c.Write([]byte(b.String())); err != nil {
		return "", err
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSpace(line)
	switch {
	case strings.HasPrefix(line, "-"):
		return "", errors.New(line[1:])
	case strings.HasPrefix(line, "$") && line != "$-1":
		n, _ := strconv.Atoi(line[1:])
		text := make([]byte, n)
		for read := 0; read < n; {
			m, err := r.Read(text[read:])
			if err != nil {
				return "", err
			}
			read += m
		}
		return string(text), nil
	}
	return strings.TrimLeft(line, "+:"), nil
}

// Cluster runs n masters and no replicas, and waits until they agree.
func Cluster(t testing.TB, n int) []*Server {
	t.Helper()
	nodes := make([]*Server, n)
	for i := range nodes {
		nodes[i] = Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no")
	}
	for i, s := range nodes {
		s.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*16384/n), strconv.Itoa((i+1)*16384/n-1))
		if i > 0 {
			s.Do("CLUSTER", "MEET", "127.0.0.1", nodes[0].Port())
		}
	}
	for _, s := range nodes {
		WaitFor(t, "the cluster", func() error {
			info := s.Do("CLUSTER", "INFO")
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", n)) {
				return nil
			}
			return errors.New(info)
		})
	}
	return nodes
}

// WaitFor asks again and again until ready has no complaint.
func WaitFor(t testing.TB, what string, ready func() error) {
	t.Helper()
	var err error
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-tick.C {
		if err = ready(); err == nil {
			return
		}
	}
	t.Fatalf("redistest: %s: not ready in 30 s: %v", what, err)
}

// Sentinel runs a Sentinel that knows master by name.
func Sentinel(t testing.TB, master *Server, name string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "sentinel")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, dir: dir, addr: FreeAddr(t)}
	file := filepath.Join(dir, "sentinel.conf") // it writes to it
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor %s 127.0.0.1 %s 1\n", s.Port(), dir, name, master.Port())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		_ = os.RemoveAll(dir)
	})
	s.cmd = exec.Command("redis-server", file, "--sentinel")
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("redistest: %v", err)
	}
	WaitFor(t, "the Sentinel", func() error {
		_, err := s.do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
		return err
	})
	return s
}
