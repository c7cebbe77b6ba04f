package kit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ConsulCluster is several real Consul servers, and the client agent of the
// machine that the mesh runs on: no death of a server takes the machine's node,
// and the services that are registered there, with it.
type ConsulCluster struct {
	t       testing.TB
	Servers []*Consul
	Agent   *Consul
}

// StartConsulCluster starts n servers that keep their state on disk, and an agent.
func StartConsulCluster(t testing.TB, n int) *ConsulCluster {
	t.Helper()
	c := &ConsulCluster{t: t}
	member := func(name string) *Consul {
		m := &Consul{t: t, bin: consulBinary(t), dir: t.TempDir(), wan: "-1", node: name, expect: n}
		m.configure()
		t.Cleanup(m.Kill)
		return m
	}
	var serfs []string
	for i := range n {
		s := member(fmt.Sprintf("server-%d", i+1))
		c.Servers, serfs = append(c.Servers, s), append(serfs, fmt.Sprintf("%q", s.serf))
	}
	c.Agent = member("machine")
	c.Agent.client = true
	for _, m := range append([]*Consul{c.Agent}, c.Servers...) {
		m.include(fmt.Sprintf("\nretry_join = [%s]\nretry_interval = \"1s\"\n", strings.Join(serfs, ", ")))
	}
	c.Start()
	return c
}

// include adds to the agent's file.
func (c *Consul) include(hcl string) {
	f, err := os.OpenFile(filepath.Join(c.dir, "agent.hcl"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(hcl)
		_ = f.Close()
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// Start starts everybody that Kill has ended, and waits for a leader.
func (c *ConsulCluster) Start() {
	c.t.Helper()
	ended := make([]chan struct{}, len(c.Servers))
	var err error
	for i, s := range c.Servers {
		if ended[i], err = s.spawn(); err != nil {
			c.t.Fatalf("kit: %v", err)
		}
	}
	for i, s := range c.Servers {
		if err := s.awaitLeader(ended[i]); err != nil {
			c.t.Fatalf("kit: %s: %v\nlast lines of its log:\n%s", s.node, err, s.logTail())
		}
	}
	c.Agent.Restart()
}

// Kill ends all of them at once; with forget, their disks are lost too.
func (c *ConsulCluster) Kill(forget bool) {
	c.t.Helper()
	for _, m := range append([]*Consul{c.Agent}, c.Servers...) {
		m.Kill()
		if !forget {
			continue
		}
		if err := os.RemoveAll(filepath.Join(m.dir, "data")); err != nil {
			c.t.Fatal(err)
		}
	}
}

// Revive starts one server again and waits until it knows a leader.
func (c *ConsulCluster) Revive(s *Consul) {
	c.t.Helper()
	if err := s.launch(); err != nil {
		c.t.Fatalf("kit: %s: %v\nlast lines of its log:\n%s", s.node, err, s.logTail())
	}
}

// Leader is the server that leads, and Follower one that does not.
func (c *ConsulCluster) Leader() (leader, follower *Consul) {
	c.t.Helper()
	for _, s := range c.Servers {
		var self struct {
			Stats struct {
				Consul struct {
					Leader string `json:"leader"`
				} `json:"consul"`
			}
		}
		if err := s.Get("/v1/agent/self", &self); err != nil {
			c.t.Fatalf("kit: %s: %v", s.node, err)
		}
		if self.Stats.Consul.Leader == "true" {
			leader = s
		} else {
			follower = s
		}
	}
	if leader == nil || follower == nil {
		c.t.Fatal("kit: the cluster has no leader")
	}
	return leader, follower
}
