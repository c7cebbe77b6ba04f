//go:build spire

package ops_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// spire is a real SPIRE: a server and an agent on this machine.
type spire struct {
	t             testing.TB
	dir           string
	server, agent string // the programs
	address       string // of the server's API for agents
	socket        string // the Workload API
	parent        string // SPIFFE ID of the agent
	token         string
	running       *exec.Cmd // the agent
}

// startSPIRE starts the server, and not yet the agent. SVIDs live for ttl.
func startSPIRE(t testing.TB, ttl time.Duration) *spire {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "spire") // a short path, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &spire{t: t, dir: dir, address: kit.FreeAddr(t), socket: filepath.Join(dir, "agent.sock"),
		server: filepath.Join(cache, "lintel", "spire-server-1.13.3"), agent: filepath.Join(cache, "lintel", "spire-agent-1.13.3")}
	s.start(s.server, fmt.Sprintf(`server {
  bind_address = "127.0.0.1"
  bind_port = %q
  trust_domain = "example.org"
  data_dir = %q
  socket_path = %q
  default_x509_svid_ttl = %q
  ca_ttl = "1h"
}
plugins {
  DataStore "sql" {
    plugin_data {
      database_type = "sqlite3"
      connection_string = %q
    }
  }
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
}
`, strings.TrimPrefix(s.address, "127.0.0.1:"), dir, dir+"/server.sock", ttl.String(), dir+"/data.sqlite3"))
	kit.Eventually(t, time.Minute, "SPIRE's server is up", func() error {
		out, err := s.tell("token", "generate", "-output", "json")
		if err != nil {
			return err
		}
		var answer struct{ Value string }
		if err := json.Unmarshal(out, &answer); err != nil || answer.Value == "" {
			return fmt.Errorf("%s: %w", out, err)
		}
		s.token, s.parent = answer.Value, "spiffe://example.org/spire/agent/join_token/"+answer.Value
		return nil
	})
	return s
}

// start runs one of its programs until the test ends.
func (s *spire) start(program, conf string) *exec.Cmd {
	s.t.Helper()
	file := kit.File(s.t, filepath.Base(program)+".conf", conf)
	cmd := exec.Command(program, "run", "-config", file)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("this test needs SPIRE 1.13.3: %v; run it by make spire", err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", program, out.Bytes()[max(0, out.Len()-4000):])
		}
	})
	return cmd
}

func (s *spire) startAgent() {
	s.t.Helper()
	_, port, _ := strings.Cut(s.address, ":")
	token := ""
	if s.running == nil { // later it knows who it is
		token = fmt.Sprintf("  join_token = %q\n", s.token)
	}
	s.running = s.start(s.agent, fmt.Sprintf(`agent {
  data_dir = %q
  server_address = "127.0.0.1"
  server_port = %q
  socket_path = %q
  trust_domain = "example.org"
  insecure_bootstrap = true
%s}
plugins {
  KeyManager "disk" { plugin_data { directory = %q } }
  NodeAttestor "join_token" { plugin_data {} }
  WorkloadAttestor "unix" { plugin_data { discover_workload_path = true } }
}
`, s.dir, port, s.socket, token, s.dir))
}

func (s *spire) tell(args ...string) ([]byte, error) {
	out, err := exec.Command(s.server, append(args, "-socketPath", s.dir+"/server.sock")...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("spire-server %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return out, nil
}

// entry makes a workload out of whoever fits the selector.
func (s *spire) entry(id, selector string, more ...string) {
	s.t.Helper()
	args := append([]string{"entry", "create", "-parentID", s.parent, "-spiffeID", "spiffe://example.org/svc/" + id, "-selector", selector}, more...)
	if _, err := s.tell(args...); err != nil {
		s.t.Fatal(err)
	}
}

// A mesh whose identities are SPIRE's: whatever starts first, several identities for
// one process, certificates that are renewed under load, an agent that dies and
// returns.
func TestSPIRE(t *testing.T) {
	s := startSPIRE(t, 20*time.Second)
	lintel := kit.Binary(t)
	s.entry("orders", "unix:path:"+lintel, "-hint", "orders")
	s.entry("ingress", "unix:path:"+lintel, "-hint", "edge")
	app := kit.StartApp(t, "orders", "")
	edge, edgeAdmin, mesh, admin := kit.FreeAddr(t), kit.FreeAddr(t), kit.FreeAddr(t), kit.FreeAddr(t)
	sidecar := kit.Start(t, nil, "sidecar", "-c", kit.File(t, "sidecar.yaml", fmt.Sprintf(`version: 1
sidecar:
  service: orders
  app: %q
  mesh: %q
  outbound: "off"
  policy: {allow: [{from: [ingress]}]}
admin: {address: %q}
identity: {source: workload-api, socket: "unix://%s", id: spiffe://example.org/svc/orders, wait: 2m}
`, app.Addr, mesh, admin, s.socket)))
	ingress := kit.Start(t, nil, "ingress", "-c", kit.File(t, "ingress.yaml", fmt.Sprintf(`version: 1
listeners: [{name: edge, address: %q}]
admin: {address: %q}
identity: {source: workload-api, socket: "unix://%s", hint: edge, wait: 2m}
routes: [{name: all, match: {path: /*}, service: orders, authorization: drop}]
services: {orders: {mesh: true, static: [%q]}}
`, edge, edgeAdmin, s.socket, mesh)))
	for _, p := range []*kit.Process{sidecar, ingress} {
		kit.Eventually(t, time.Minute, "it says what it waits for", func() error {
			if !strings.Contains(p.Stderr.String(), "waiting for an identity") {
				return errors.New("not yet")
			}
			return nil
		})
	}
	s.startAgent()
	sidecar.Ready(admin)
	ingress.Ready(edgeAdmin)
	l := kit.StartLoad(t, nil, kit.Shot{Method: http.MethodGet, URL: "http://" + edge + "/x", Expect: `"X-Forwarded-For"`})
	serials := func(p *kit.Process) int { return strings.Count(p.Stderr.String(), `"identity received"`) }
	before := serials(ingress)
	kit.Eventually(t, 2*time.Minute, "three certificates of the ingress", func() error {
		if n := serials(ingress) - before; n < 2 {
			return fmt.Errorf("%d renewals", n)
		}
		return nil
	})
	_ = s.running.Process.Kill()
	l.During(3 * time.Second)
	s.startAgent()
	before = serials(ingress)
	kit.Eventually(t, 2*time.Minute, "another one after the agent's return", func() error {
		if n := serials(ingress) - before; n < 1 {
			return fmt.Errorf("%d renewals", n)
		}
		return nil
	})
	l.Clean(300)
	if !strings.Contains(sidecar.Stdout.String(), `"peer":"spiffe://example.org/svc/ingress"`) {
		t.Error("the sidecar did not see who called")
	}

	// A process that several identities fit, and which chooses none, says so and ends.
	out, err := exec.CommandContext(t.Context(), lintel, "ingress", "-c", kit.File(t, "none.yaml", fmt.Sprintf(`version: 1
listeners: [{name: edge, address: %q}]
admin: {address: "off"}
identity: {source: workload-api, socket: "unix://%s", wait: 10s}
routes: [{name: all, match: {path: /*}, respond: {}}]
`, kit.FreeAddr(t), s.socket))).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "svc/orders") || !strings.Contains(string(out), "svc/ingress") {
		t.Errorf("%v %s", err, out)
	}
}
