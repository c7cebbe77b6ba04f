package kit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ConsulToken is the management token of an agent started WithACL.
const ConsulToken = "7f3c2a50-52f5-4c8e-9a75-3d0a0f6f2b11"

// consulPatience bounds the wait for a leader: an agent needs two seconds on
// an idle machine, and tests share theirs.
const consulPatience = 60 * time.Second

// Consul is one real Consul agent, server and client in one.
type Consul struct {
	t     testing.TB
	bin   string
	dir   string
	acl   bool
	dev   bool
	extra string
	wan   string // port towards other datacenters
	http  int

	node   string // its name
	expect int    // servers that must know each other before they choose a leader
	client bool   // an agent that is no server
	serf   string // where the others of its cluster find it

	mu    sync.Mutex
	cmd   *exec.Cmd
	guard *exec.Cmd
	ended chan struct{} // closed once the process is reaped
}

// ConsulOption changes how StartConsul starts the agent.
type ConsulOption func(*Consul)

// WithDataDir keeps the agent's state on disk, so that it survives Restart.
// Without it the agent runs in dev mode and every Restart begins empty.
func WithDataDir() ConsulOption { return func(c *Consul) { c.dev = false } }

// WithACL enables ACLs with a default of deny; ConsulToken may do everything.
func WithACL() ConsulOption { return func(c *Consul) { c.acl = true } }

// WithHCL adds agent configuration.
func WithHCL(hcl string) ConsulOption { return func(c *Consul) { c.extra += "\n" + hcl } }

// WithWAN lets the agent be federated with other datacenters, by this port.
func WithWAN(port string) ConsulOption { return func(c *Consul) { c.wan = port } }

// StartConsul starts an agent with the Connect CA and waits until it has a
// leader and certificates. It is killed when the test ends. The binary is
// $LINTEL_CONSUL_BIN, else lintel/consul-1.19.2 in the user's cache folder; a
// missing one fails the test.
func StartConsul(t testing.TB, options ...ConsulOption) *Consul {
	t.Helper()
	c := &Consul{t: t, bin: consulBinary(t), dir: t.TempDir(), dev: true, wan: "-1", node: "lintel-test", expect: 1}
	for _, o := range options {
		o(c)
	}
	var err error
	for range 3 { // another process may take a port between its choice and its use
		c.configure()
		if err = c.start(); err == nil {
			t.Cleanup(c.Kill)
			return c
		}
		c.Kill()
		if err := os.RemoveAll(filepath.Join(c.dir, "data")); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("kit: %v\nlast lines of its log:\n%s", err, c.logTail())
	return nil
}

// NativeBinary is a service that integrates Connect by Consul's own SDK:
// test/tools/native.
func NativeBinary(t testing.TB) string {
	t.Helper()
	bin := consulBinary(t) + "-native"
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("kit: this test needs a program made with Consul's SDK: %v; build it with `make tools`", err)
	}
	return bin
}

func consulBinary(t testing.TB) string {
	t.Helper()
	bin := os.Getenv("LINTEL_CONSUL_BIN")
	if bin == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatalf("kit: no cache folder to look for Consul in: %v; set LINTEL_CONSUL_BIN", err)
		}
		bin = filepath.Join(cache, "lintel", "consul-1.19.2")
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("kit: this test needs a real Consul 1.19.2, and there is none: %v; build it with `make tools`, or set LINTEL_CONSUL_BIN", err)
	}
	return bin
}

// configure chooses ports and writes the agent's file. The ports stay the same
// across restarts, so nobody may take one while the agent is away.
func (c *Consul) configure() {
	var ports [4]int
	for i := range ports {
		_, port, err := net.SplitHostPort(FreeAddr(c.t))
		if err == nil {
			ports[i], err = strconv.Atoi(port)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	c.http = ports[0]
	hcl := fmt.Sprintf(`
node_name   = %q
bind_addr   = "127.0.0.1"
client_addr = "127.0.0.1"
ports {
  http = %d
  server = %d
  serf_lan = %d
  serf_wan = %s
  https = -1
  dns = -1
  grpc = %d
  grpc_tls = -1
}
connect { enabled = true }
performance { raft_multiplier = 1 }
disable_update_check = true
leave_on_terminate = false
`, c.node, ports[0], ports[1], ports[2], c.wan, ports[3])
	c.serf = "127.0.0.1:" + strconv.Itoa(ports[2])
	if !c.dev {
		hcl += fmt.Sprintf("data_dir = %q\n", filepath.Join(c.dir, "data"))
	}
	if c.acl {
		hcl += fmt.Sprintf(`
acl {
  enabled = true
  default_policy = "deny"
  tokens { initial_management = %q agent = %q }
}
`, ConsulToken, ConsulToken)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "agent.hcl"), []byte(hcl+c.extra), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// start starts the agent until it takes registrations. An agent whose first
// synchronisation with its catalog comes before there is a leader retries only
// after 15 to 30 seconds; starting it once more is faster.
func (c *Consul) start() error {
	for _, patience := range []time.Duration{5 * time.Second, 5 * time.Second, consulPatience} {
		if err := c.launch(); err != nil {
			return err
		}
		if c.awaitSync(patience) {
			return nil
		}
		c.Kill()
	}
	return fmt.Errorf("consul took no registration within %v", consulPatience)
}

// awaitSync registers a service on the agent and sees it come and go in the catalog.
func (c *Consul) awaitSync(patience time.Duration) bool {
	const probe = "lintel-kit-probe"
	for _, step := range []struct {
		path string
		body any
		want int
	}{{"/v1/agent/service/register", map[string]any{"Name": probe}, 1}, {"/v1/agent/service/deregister/" + probe, nil, 0}} {
		asked := false
		for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			asked = asked || c.call(http.MethodPut, step.path, step.body, nil) == nil
			var found []any
			if asked && c.Get("/v1/catalog/service/"+probe, &found) == nil && len(found) == step.want {
				break
			}
			if time.Now().After(deadline) {
				return false
			}
		}
	}
	return true
}

// launch starts the process and waits until it knows a leader.
func (c *Consul) launch() error {
	ended, err := c.spawn()
	if err != nil {
		return err
	}
	return c.awaitLeader(ended)
}

func (c *Consul) spawn() (ended chan struct{}, err error) {
	log, err := os.OpenFile(filepath.Join(c.dir, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := []string{"agent", "-config-file=" + filepath.Join(c.dir, "agent.hcl"), "-log-level=warn"}
	switch {
	case c.client:
	case c.dev:
		args = append(args, "-dev")
	default:
		args = append(args, "-server", "-bootstrap-expect="+strconv.Itoa(c.expect))
	}
	cmd := exec.Command(c.bin, args...)
	cmd.Stdout, cmd.Stderr = log, log
	// An agent keeps to itself: no CONSUL_* of the surroundings.
	cmd.Env = []string{"HOME=" + c.dir, "PATH=" + os.Getenv("PATH"), "GOMAXPROCS=2"}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("could not start %s: %w", c.bin, err)
	}
	ended = make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }() // killed: its exit code says nothing
	c.mu.Lock()
	c.cmd, c.ended, c.guard = cmd, ended, startGuard(cmd.Process.Pid)
	c.mu.Unlock()
	return ended, nil
}

// startGuard ends the agent also when this process dies without cleaning up (a
// test's timeout, a panic): its pipe then closes, and read returns.
func startGuard(pid int) *exec.Cmd {
	guard := exec.Command("sh", "-c", "read _; kill -9 "+strconv.Itoa(pid))
	if _, err := guard.StdinPipe(); err != nil || guard.Start() != nil {
		return nil
	}
	return guard
}

func (c *Consul) awaitLeader(ended <-chan struct{}) error {
	deadline := time.Now().Add(consulPatience)
	for time.Now().Before(deadline) {
		select {
		case <-ended:
			return fmt.Errorf("consul ended while starting")
		case <-time.After(50 * time.Millisecond):
		}
		var leader string
		if c.Get("/v1/status/leader", &leader) != nil || leader == "" {
			continue
		}
		var roots struct{ Roots []any }
		if c.Get("/v1/connect/ca/roots", &roots) != nil || len(roots.Roots) == 0 {
			continue
		}
		var nodes []any
		if c.Get("/v1/catalog/nodes", &nodes) == nil && len(nodes) > 0 {
			return nil
		}
	}
	return fmt.Errorf("consul had no leader within %v", consulPatience)
}

// HTTPAddr is host:port of the agent's HTTP API.
func (c *Consul) HTTPAddr() string { return "127.0.0.1:" + strconv.Itoa(c.http) }

// Env is the CONSUL_* environment of a client of this agent.
func (c *Consul) Env() []string {
	env := []string{"CONSUL_HTTP_ADDR=" + c.HTTPAddr()}
	if c.acl {
		env = append(env, "CONSUL_HTTP_TOKEN="+ConsulToken)
	}
	return env
}

// Kill ends the agent at once, as a crash would, and returns when it is gone.
func (c *Consul) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return
	}
	if c.guard != nil { // first, so that it never kills a reused pid
		_ = c.guard.Process.Kill()
		_ = c.guard.Wait()
	}
	_ = c.cmd.Process.Kill()
	<-c.ended
	c.cmd, c.guard = nil, nil
}

// Restart starts the agent again on the same ports, after Kill if it still
// runs, and waits for its leader. A dev agent has then forgotten everything.
func (c *Consul) Restart() {
	c.t.Helper()
	c.Kill()
	if err := c.start(); err != nil {
		c.t.Fatalf("kit: restart: %v\nlast lines of its log:\n%s", err, c.logTail())
	}
}

// Freeze stops the agent's process without closing anything: its sockets
// accept, and nobody answers.
func (c *Consul) Freeze() { c.signal(syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (c *Consul) Thaw() { c.signal(syscall.SIGCONT) }

func (c *Consul) signal(s syscall.Signal) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		c.t.Fatalf("kit: %v to a Consul that does not run", s)
	}
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatalf("kit: %v: %v", s, err)
	}
}

// Get reads a path of the HTTP API into out, with the management token.
func (c *Consul) Get(path string, out any) error {
	return c.call(http.MethodGet, path, nil, out)
}

// Put sends body as JSON to a path of the HTTP API, with the management token,
// and fails the test when it is refused. out may be nil.
func (c *Consul) Put(path string, body, out any) {
	c.t.Helper()
	if err := c.call(http.MethodPut, path, body, out); err != nil {
		c.t.Fatalf("kit: %v", err)
	}
}

func (c *Consul) call(method, path string, body, out any) error {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, "http://"+c.HTTPAddr()+path, in)
	if err != nil {
		return err
	}
	if c.acl {
		req.Header.Set("X-Consul-Token", ConsulToken)
	}
	req.Close = true // leaves no connection behind for a leak check to find
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("consul: %s %s: %s: %s", method, path, resp.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

func (c *Consul) logTail() []byte {
	text, err := os.ReadFile(filepath.Join(c.dir, "agent.log"))
	if err != nil {
		return []byte(err.Error())
	}
	return text[max(0, len(text)-4000):]
}
