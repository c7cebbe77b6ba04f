package mesh_test

import (
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// Error budget: no request fails while a server of three is dead, follower or leader,
// and endpoints that come later are found.
func TestDeathOfAConsulServerFailsNoRequest(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsulCluster(t, 3)
	w := startWeb(t, plan{consul: consul.Agent.HTTPAddr(), consulCA: true, endpoints: 2})
	l := w.load()
	for i, which := range []string{"follower", "leader"} {
		victim, follower := consul.Leader()
		if which == "follower" {
			victim = follower
		}
		victim.Kill()
		began := time.Now()
		w.add(nil, nil)
		w.await(3 + i)
		within(t, "an endpoint registered and found after the death of the "+which, time.Since(began), 45*time.Second)
		consul.Revive(victim)
	}
	began := time.Now()
	w.add(nil, nil)
	w.await(5)
	within(t, "an endpoint registered and found with all servers back", time.Since(began), 45*time.Second)
	l.Clean(500)
}

// Error budget: no request fails while the whole of Consul is dead, and none when it
// returns, with what it knew or with nothing: the sidecars register again.
func TestDeathOfAllOfConsulFailsNoRequest(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsulCluster(t, 3)
	w := startWeb(t, plan{ttl: "6s", consul: consul.Agent.HTTPAddr(), endpoints: 3})
	l := w.load()
	for _, forget := range []bool{false, true} {
		consul.Kill(forget)
		l.During(4 * time.Second)
		w.await(3)
		consul.Start()
		began := time.Now()
		kit.Eventually(t, 2*patience, "all are registered and pass", func() error {
			var found []any
			if err := consul.Agent.Get("/v1/health/service/web?passing", &found); err != nil {
				return err
			}
			return want(len(found), 3)
		})
		what := "registered again with a Consul that returned"
		if forget {
			what += " without its memory"
		}
		within(t, what, time.Since(began), 75*time.Second)
		// The servers may have told of checks as they were, and of the agent's, which
		// begin anew, only now.
		l.During(4 * time.Second)
		w.await(3)
	}
	began := time.Now()
	w.add(nil, nil)
	w.await(4)
	within(t, "a new endpoint is found after that", time.Since(began), 45*time.Second)
	l.Clean(500)
}
