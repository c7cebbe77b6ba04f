package compose

import (
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/proxy/cluster"
)

func services(t *testing.T, text string) *config.Snapshot {
	t.Helper()
	s, err := config.Parse("lintel.yaml", []byte("version: 1\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAMeshTierExpectsTheIdentityOfItsDatacenter: whoever may write the catalog of
// one datacenter must not choose whom we trust in another.
func TestAMeshTierExpectsTheIdentityOfItsDatacenter(t *testing.T) {
	id := &Identity{ids: mtls.ConsulServiceIDs(), TrustDomain: "td.consul", scope: Scope{Datacenter: "dc1", Namespace: "default"}}
	s := services(t, `services:
  orders:
    mesh: true
    failover: [{consul: {datacenter: dc2}}, {static: ["10.0.0.1:1"]}, {service: old}, {consul: {datacenter: dc3, service: orders-v2}}, {static: ["10.0.0.2:1"], spiffe_id: "spiffe://td.consul/x"}]
  old: {mesh: true, consul: {datacenter: dc9, service: legacy, namespace: team}}
`)
	svc, err := WithFailover(s.Services, s.Services["orders"])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"spiffe://td.consul/ns/default/dc/dc1/svc/orders", "spiffe://td.consul/ns/default/dc/dc2/svc/orders", "spiffe://td.consul/ns/default/dc/dc1/svc/orders",
		"spiffe://td.consul/ns/team/dc/dc9/svc/legacy", "spiffe://td.consul/ns/default/dc/dc3/svc/orders-v2", "spiffe://td.consul/x"}
	if got, err := id.expects("orders", svc); err != nil || got != want[0] {
		t.Errorf("%s %v", got, err)
	}
	for i, f := range svc.Failover {
		tier, of, label := tierOf("orders", svc, f)
		if got, err := id.expects(of, tier); err != nil || got != want[i+1] {
			t.Errorf("tier %d (%s): %s %v, want %s", i+1, label, got, err, want[i+1])
		}
		if len(tier.Failover) != 0 || !tier.Mesh {
			t.Errorf("tier %d: %+v", i+1, tier)
		}
	}
}

func TestATierInheritsWhatItDoesNotSay(t *testing.T) {
	s := services(t, `services:
  orders: {balance: peak_ewma, consul: {service: o, tags: [v2], warning: true}, health: {tcp: {}}, failover: [{consul: {datacenter: dc2}}, {consul: {prepared_query: q}}, {dns: "a.b:80"}]}
`)
	svc := s.Services["orders"]
	tier, of, label := tierOf("orders", svc, svc.Failover[0])
	if c := tier.Consul; of != "orders" || label != "consul dc2" || c.Service != "o" || c.Tags[0] != "v2" || c.Datacenter != "dc2" || !c.Warning || tier.Balance != "peak_ewma" || tier.Health == nil {
		t.Errorf("%s %s %+v", of, label, tier)
	}
	if tier, _, _ := tierOf("orders", svc, svc.Failover[1]); tier.Consul.Service != "" || tier.Consul.PreparedQuery != "q" {
		t.Errorf("%+v", tier.Consul)
	}
	if tier, _, label := tierOf("orders", svc, svc.Failover[2]); tier.DNS != "a.b:80" || label != "dns a.b:80" {
		t.Errorf("%s %+v", label, tier)
	}
	if svc.Consul.Datacenter != "" {
		t.Error("the service itself has changed")
	}
}

// TestFailoverChangesTheFingerprint: a change of the service that is failed over to
// must make a new cluster.
func TestFailoverChangesTheFingerprint(t *testing.T) {
	print := func(port string) string {
		s := services(t, `services: {a: {static: ["h:1"], failover: [{service: b}]}, b: {static: ["h:`+port+`"]}}`)
		svc, err := WithFailover(s.Services, s.Services["a"])
		if err != nil {
			t.Fatal(err)
		}
		p, err := fingerprint(svc)
		if err != nil {
			t.Fatal(err)
		}
		if s.Services["a"].Failover[0].Other != nil {
			t.Error("the snapshot itself has changed")
		}
		return p
	}
	if print("1") == print("2") {
		t.Error("the same")
	}
}

// TestServicesThatFailOverToEachOther end somewhere.
func TestServicesThatFailOverToEachOther(t *testing.T) {
	s := services(t, `services: {a: {static: ["127.0.0.1:1"], failover: [{service: b}]}, b: {static: ["127.0.0.1:2"], failover: [{service: a}]}}`)
	if errs := CheckServices(s); len(errs) > 0 {
		t.Fatal(errs)
	}
	d, err := OpenDiscovery(s.Discovery, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c := &Clusters{Feed: d.Feed}
	svc, err := WithFailover(s.Services, s.Services["a"])
	if err != nil {
		t.Fatal(err)
	}
	cl, err := c.build("a", svc)
	if err != nil {
		t.Fatal(err)
	}
	if s := cl.Status(); len(s.Failover) != 1 || len(s.Failover[0].Failover) != 0 {
		t.Errorf("%+v", s)
	}
	_ = cl.Close()
}

func TestImpossibleBalancingIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		`a: {balance: consistent_hash}`:                                                              "needs hash",
		`a: {hash: {header: X}}`:                                                                     "hash is for balance: consistent_hash",
		`a: {balance: consistent_hash, hash: {header: X, cookie: y}}`:                                "exactly one of header",
		`a: {balance: consistent_hash, hash: {header: X, set: true}}`:                                "only a cookie can be set",
		`a: {balance: consistent_hash, hash: {cookie: "a b", set: true}}`:                            "expected a cookie's name",
		`a: {balance: consistent_hash, hash: {cookie: a, set: true, cookie_path: "/;x"}}`:            "expected text that matches",
		`a: {balance: consistent_hash, hash: {cookie: a, samesite: none, secure: false, set: true}}`: "browsers refuse",
		`a: {balance: consistent_hash, hash: {path: true}, bounded_load: 1}`:                         "at least 1.05",
		`a: {health: {}}`:                                            "exactly one of http, grpc and tcp",
		`a: {health: {tcp: {}, grpc: {}}}`:                           "exactly one of http, grpc and tcp",
		`a: {health: {tcp: {}, interval: 1s, timeout: 2s}}`:          "must not be longer than interval",
		`a: {health: {http: {path: "x"}}}`:                           "expected text that matches",
		`a: {health: {http: {headers: {x: "a\r\nb: c"}}}}`:           "names and values of header fields",
		`a: {health: {http: {host: "a/b"}}}`:                         "expected host",
		`a: {failover: [{}]}`:                                        "exactly one of consul",
		`a: {failover: [{static: ["h:1"], dns: "x:1"}]}`:             "exactly one of consul",
		`a: {failover_below: 0.5}`:                                   "there is no failover",
		`a: {consul: {prepared_query: q, service: s}}`:               "says itself which service",
		`a: {mesh: true, consul: {prepared_query: q}}`:               "must not be the catalog's word",
		`a: {mesh: true, failover: [{consul: {prepared_query: q}}]}`: "must not be the catalog's word",
		`a: {outlier: {max_ejected: 2}}`:                             "0 to 1",
	} {
		_, err := config.Parse("lintel.yaml", []byte("version: 1\nservices:\n  "+text+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		`a: {failover: [{service: nope}]}`:               `service "nope" does not exist; services are a, m`,
		`a: {mesh: true, failover: [{service: m}]}`:      "",
		`a: {static: ["h:1"], failover: [{service: m}]}`: "both are in the mesh or none",
	} {
		s := services(t, "services:\n  m: {mesh: true}\n  "+text+"\n")
		errs := CheckServices(s)
		if (len(errs) == 0) != (want == "") || want != "" && !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%s: %v, want %q", text, errs, want)
		}
	}
}

// What consul says of a service with endpoints of its own is for its identity.
func TestConsulMetaLeavesStaticEndpointsAlone(t *testing.T) {
	s := services(t, "services:\n  a: {consul: {meta: {version: v2}}, static: [{address: \"h:1\", weight: 3, zone: z, tags: [x], meta: {k: v}}, \"h:2\"]}\n")
	d, err := OpenDiscovery(s.Discovery, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	told := make(chan []cluster.Endpoint, 1)
	stop, err := d.Feed("a", s.Services["a"], func(e []cluster.Endpoint) { told <- e })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	want := []cluster.Endpoint{{Address: "h:1", Weight: 3, Zone: "z", Tags: []string{"x"}, Meta: map[string]string{"k": "v"}}, {Address: "h:2", Weight: 1}}
	if got := <-told; len(got) != 2 || !reflect.DeepEqual(got[0], want[0]) || got[1].Address != "h:2" || got[1].Weight != 1 {
		t.Errorf("%+v", got)
	}
}
