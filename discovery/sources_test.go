package discovery

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/cluster"
)

func TestStaticListsAreSortedAndChecked(t *testing.T) {
	s, err := NewStatic([]cluster.Endpoint{{Address: "[::1]:2", Weight: 3}, {Address: "10.0.0.1:1"}, {Address: "[::1]:2", Weight: 3}})
	if err != nil {
		t.Fatal(err)
	}
	sub, got := subscribe(t, newTestHub(t, HubConfig{}), s, Query{Service: "a"})
	eventually(t, patience, "listed", got.fresh("10.0.0.1:1", "[::1]:2"))
	if sub.Staleness() != 0 {
		t.Fatalf("a static list is %v stale", sub.Staleness())
	}
	for _, bad := range []string{"", "host", "host:0", "host:70000", ":80", "::1:80", "host:http"} {
		if _, err := NewStatic(endpoints(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

// Two lists that say different things of the same addresses are two sources: a
// subscription to the second must not be told the first.
func TestStaticListsAreToldApart(t *testing.T) {
	seen := map[string]int{}
	for i, e := range []cluster.Endpoint{{}, {Weight: 2}, {Zone: "a"}, {Zone: "b"}, {Tags: []string{"a"}}, {Tags: []string{"a", "b"}}, {Tags: []string{"a b"}},
		{Meta: map[string]string{"a": "b"}}, {Meta: map[string]string{"a": "c"}}} {
		e.Address = "10.0.0.1:1"
		s, err := NewStatic([]cluster.Endpoint{e})
		if err != nil {
			t.Fatal(err)
		}
		if before, dup := seen[s.Name()]; dup {
			t.Errorf("%d and %d are both called %s", before, i, s.Name())
		}
		seen[s.Name()] = i
	}
}

type fakeDNS struct {
	mu  sync.Mutex
	ips map[string][]netip.Addr
	srv []*net.SRV
	err error
}

func (f *fakeDNS) set(change func()) { f.mu.Lock(); defer f.mu.Unlock(); change() }

func (f *fakeDNS) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && f.ips[host] == nil {
		return nil, &net.DNSError{Name: host, IsNotFound: true}
	}
	return f.ips[host], f.err
}

func (f *fakeDNS) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return "", f.srv, f.err
}

func TestDNSKeepsLastGoodAnswer(t *testing.T) {
	one, two := netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("fd00::2")
	f := &fakeDNS{ips: map[string][]netip.Addr{"users": {two, one}}}
	d, err := NewDNS(DNSConfig{Target: "users:80", Every: 10 * time.Millisecond, Resolver: f, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	_, got := subscribe(t, newTestHub(t, HubConfig{}), d, Query{Service: "users"})
	eventually(t, patience, "resolved", got.fresh("10.0.0.1:80", "[fd00::2]:80"))
	f.set(func() { f.err = errors.New("SERVFAIL") })
	eventually(t, patience, "kept on failure", got.stale("10.0.0.1:80", "[fd00::2]:80"))
	f.set(func() { f.err, f.ips = nil, nil })
	time.Sleep(30 * time.Millisecond)
	if !got.stale("10.0.0.1:80", "[fd00::2]:80")() {
		t.Fatalf("NXDOMAIN emptied the service: %v", got.last())
	}
	f.set(func() { f.ips = map[string][]netip.Addr{"users": {two}} })
	eventually(t, patience, "resolved anew", got.fresh("[fd00::2]:80"))
}

func TestDNSServiceRecords(t *testing.T) {
	f := &fakeDNS{
		ips: map[string][]netip.Addr{"a": {netip.MustParseAddr("10.0.0.1")}, "b": {netip.MustParseAddr("10.0.0.2")}},
		srv: []*net.SRV{{Target: "b", Port: 2, Priority: 20}, {Target: "a", Port: 1, Priority: 10, Weight: 7}, {Target: "gone", Port: 3, Priority: 10}},
	}
	d, err := NewDNS(DNSConfig{Target: "_http._tcp.users", Resolver: f, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	e, err := d.resolve(t.Context())
	if err != nil || len(e) != 1 || e[0].Address != "10.0.0.1:1" || e[0].Weight != 7 {
		t.Fatalf("got %v, %v; want only the first priority that exists, with its weight", e, err)
	}
}

func TestEmbeddedCatalogRegistersFlipsAndDrains(t *testing.T) {
	c := NewCatalog()
	h := newTestHub(t, HubConfig{})
	_, app := subscribe(t, h, c, Query{Service: "orders", Tags: []string{"v1"}})
	_, mesh := subscribe(t, h, c, Query{Service: "orders", Connect: true})
	_, other := subscribe(t, h, c, Query{Service: "orders", Tags: []string{"v1", "v2"}})
	reg, err := c.Register(t.Context(), Registration{Service: "orders", Port: 80, Tags: []string{"v1"}, Proxy: &Proxy{Port: 443}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "app listed", app.fresh("127.0.0.1:80"))
	eventually(t, patience, "sidecar listed", mesh.fresh("127.0.0.1:443"))
	if err := c.SetHealth("orders", false); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "unhealthy is not listed", app.fresh())
	if err := c.SetHealth("orders", true); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "healthy again", mesh.fresh("127.0.0.1:443"))
	if err := reg.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "drained", mesh.fresh())
	if err := reg.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.SetHealth("orders", true) == nil {
		t.Fatal("a deregistered instance can be healthy")
	}
	eventually(t, patience, "an answer for those without the tag", other.fresh())
	if other.count() != 1 {
		t.Fatalf("an instance without the tag was listed: %v", other.all)
	}
}
