package mesh_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

func want(got, want int) error {
	if got != want {
		return fmt.Errorf("%d, want %d", got, want)
	}
	return nil
}

// Error budget: no idempotent request fails, and none takes longer than its route's
// timeout, when every packet between the ingress and one of three hosts is dropped.
func TestPartitionFromOneOfThreeHostsFailsNoIdempotentRequest(t *testing.T) {
	t.Parallel()
	hosts := []*kit.Host{kit.StartHost(t), kit.StartHost(t), kit.StartHost(t)}
	w := startWeb(t, plan{ttl: "1h", endpoints: 3, hosts: hosts})
	l := w.load()
	w.awaitServed(w.sides[0])
	l.During(500 * time.Millisecond)
	hosts[0].Cut()
	within(t, "left out after the partition", w.await(2), 20*time.Second)
	l.During(14 * time.Second) // until what was under way is given up on too
	hosts[0].Heal()
	began := time.Now()
	w.await(3)
	w.awaitServed(w.sides[0])
	within(t, "used again after the partition", time.Since(began), 30*time.Second)
	l.Clean(300)
	within(t, "the slowest request", l.Slowest(), 20*time.Second) // 10 s until the connection is given up
}

// The same where an attempt is not waited for so long: the route's timeout may then
// be shorter than it takes to give a connection up.
func TestPartitionWithATimeoutPerTry(t *testing.T) {
	t.Parallel()
	hosts := []*kit.Host{kit.StartHost(t), kit.StartHost(t), kit.StartHost(t)}
	w := startWeb(t, plan{ttl: "1h", endpoints: 3, hosts: hosts, route: "timeout: 8s, retries: {attempts: 2, per_try_timeout: 1s}"})
	l := w.load()
	w.awaitServed(w.sides[0])
	l.During(500 * time.Millisecond)
	hosts[0].Cut()
	within(t, "left out after the partition, with a timeout per try", w.await(2), 20*time.Second)
	l.During(5 * time.Second)
	hosts[0].Heal()
	w.await(3)
	l.Clean(300)
	within(t, "the slowest request, with a timeout per try", l.Slowest(), 8*time.Second)
}

// Error budget: no request fails while the ingress is cut off from Consul; what
// changed meanwhile is known once it is not.
func TestPartitionOfIngressFromConsulFailsNoRequest(t *testing.T) {
	t.Parallel()
	link := kit.StartHost(t) // two cables: to the sidecars, and to Consul
	catalog := link.AddCable()
	consul := kit.StartConsul(t, kit.WithHCL(fmt.Sprintf("client_addr = \"127.0.0.1 %s\"", catalog.Peer)))
	_, port, err := net.SplitHostPort(consul.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	w := startWeb(t, plan{ttl: "1h", endpoints: 2, front: link, consul: consul.HTTPAddr(), asks: catalog.Peer + ":" + port})
	l := w.load()
	l.During(500 * time.Millisecond)
	catalog.Cut()
	w.add(nil, link)
	l.During(3 * time.Second)
	w.await(2) // it cannot know of the third
	catalog.Heal()
	within(t, "what changed meanwhile is known after the partition", w.await(3), 75*time.Second)
	l.Clean(300)
}
