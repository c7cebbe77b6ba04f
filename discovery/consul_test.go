package discovery

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

const patience = 30 * time.Second // for a real Consul on a busy machine

func client(t *testing.T, agent *kit.Consul, change ...func(*ConsulConfig)) *Consul {
	t.Helper()
	cfg := ConsulConfig{Address: agent.HTTPAddr(), Pulse: 500 * time.Millisecond, Log: quiet()}
	for _, f := range change {
		f(&cfg)
	}
	c, err := NewConsul(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

type object = map[string]any

// put registers an instance whose TTL check the test flips.
func put(agent *kit.Consul, id string, port int, tags ...string) {
	agent.Put("/v1/agent/service/register", object{"ID": id, "Name": "orders", "Address": "::1", "Port": port, "Tags": tags,
		"Meta": object{"version": "7"}, "Weights": object{"Passing": 5, "Warning": 1},
		"Check": object{"CheckID": "check-" + id, "TTL": "10m", "Status": "passing"}}, nil)
}

func TestConsulEndpointsAppearFailAndDisappear(t *testing.T) {
	t.Parallel()
	agent := kit.StartConsul(t, kit.WithHCL(`node_meta { zone = "z1" }`))
	h := newTestHub(t, HubConfig{})
	c := client(t, agent)
	sub, got := subscribe(t, h, c, Query{Service: "orders"})
	_, tagged := subscribe(t, h, c, Query{Service: "orders", Tags: []string{"v1", "eu"}})
	eventually(t, patience, "truly empty is an answer", got.fresh())
	if err := sub.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(agent, "a", 81, "v1", "eu")
	put(agent, "b", 82, "v1")
	eventually(t, patience, "both listed", got.fresh("[::1]:81", "[::1]:82"))
	eventually(t, patience, "all tags required", tagged.fresh("[::1]:81"))
	e := got.last().Endpoints[0]
	if e.Weight != 5 || e.Meta["version"] != "7" || e.Meta["node.zone"] != "z1" || e.Zone != "z1" || e.Node != "lintel-test" || !slices.Equal(e.Tags, []string{"v1", "eu"}) {
		t.Fatalf("facts lost: %+v", e)
	}
	agent.Put("/v1/agent/check/fail/check-b", nil, nil)
	eventually(t, patience, "failing is not listed", got.fresh("[::1]:81"))
	agent.Put("/v1/agent/check/pass/check-b", nil, nil)
	eventually(t, patience, "passing is listed", got.fresh("[::1]:81", "[::1]:82"))
	// Quiet, but confirmed: the answer gets no older than the pulse's interval, and nobody is told the same twice.
	for range 3 {
		quietSince := time.Now()
		eventually(t, patience, "confirmed while it is quiet", func() bool { return sub.Staleness() < time.Since(quietSince) })
	}
	if was := got.history(); slices.ContainsFunc(pairs(was), func(p [2]Update) bool {
		return p[0].Stale == p[1].Stale && sameEndpoints(p[0].Endpoints, p[1].Endpoints)
	}) {
		t.Fatalf("told the same twice: %+v", was)
	}
	agent.Put("/v1/agent/service/deregister/a", nil, nil)
	eventually(t, patience, "deregistered", got.fresh("[::1]:82"))

	// A dev agent that restarts has forgotten everything, its index included.
	agent.Restart()
	put(agent, "c", 83)
	eventually(t, 2*patience, "index reset survived", got.fresh("[::1]:83"))
}

func TestConsulOutageKeepsLastKnown(t *testing.T) {
	t.Parallel()
	agent := kit.StartConsul(t, kit.WithDataDir())
	dir := t.TempDir()
	h := newTestHub(t, HubConfig{CacheDir: dir})
	sub, got := subscribe(t, h, client(t, agent), Query{Service: "orders"})
	put(agent, "a", 81)
	eventually(t, patience, "listed", got.fresh("[::1]:81"))

	agent.Freeze()
	eventually(t, patience, "frozen: stale, last known kept", got.stale("[::1]:81"))
	agent.Thaw()
	eventually(t, 2*patience, "thawed", got.fresh("[::1]:81"))

	agent.Kill()
	eventually(t, patience, "killed: stale, last known kept", got.stale("[::1]:81"))
	if st := h.Status()[0]; !st.Stale || st.Err == "" || sub.Staleness() <= 0 {
		t.Fatalf("status hides the outage: %+v", st)
	}
	h.Close() // a new process, while Consul is still away
	h = newTestHub(t, HubConfig{CacheDir: dir})
	sub, got = subscribe(t, h, client(t, agent), Query{Service: "orders"})
	if err := sub.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !got.stale("[::1]:81")() || !h.Status()[0].FromDisk {
		t.Fatalf("cold start without Consul: %+v, %+v", got.last(), h.Status())
	}
	agent.Restart()
	agent.Put("/v1/agent/check/pass/check-a", nil, nil) // a restarted agent has TTL checks begin critical
	put(agent, "b", 82)
	eventually(t, 3*patience, "returned", got.fresh("[::1]:81", "[::1]:82"))
}

func TestConsulDenialIsNotEmpty(t *testing.T) {
	t.Parallel()
	agent := kit.StartConsul(t, kit.WithACL())
	put(agent, "a", 81)
	agent.Put("/v1/acl/policy", object{"Name": "blind", "Rules": `service "other" { policy = "read" }`}, nil)
	var blind struct{ SecretID string }
	agent.Put("/v1/acl/token", object{"Policies": []object{{"Name": "blind"}}}, &blind)
	file := filepath.Join(t.TempDir(), "token")
	for name, token := range map[string]string{"none": "", "unknown": "00000000-0000-0000-0000-0000000000aa", "without the permission": blind.SecretID} {
		t.Run(name, func(t *testing.T) {
			c := client(t, agent, func(cfg *ConsulConfig) { cfg.Token = token })
			for _, connect := range []bool{false, true} {
				sub, got := subscribe(t, newTestHub(t, HubConfig{}), c, Query{Service: "orders", Connect: connect})
				var last Status
				eventually(t, patience, "denied", func() bool {
					last = sub.watch.status(time.Now())
					return last.Stale && strings.Contains(last.Err, ErrDenied.Error())
				})
				if last.Ready || !strings.Contains(last.Err, "permission denied") || !strings.Contains(last.Err, "service:read") || got.count() != 0 {
					t.Fatalf("connect %v: %+v", connect, last)
				}
			}
		})
	}
	// A token file that is replaced: read again, and losing the permission empties nothing.
	if err := os.WriteFile(file, []byte(kit.ConsulToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := client(t, agent, func(cfg *ConsulConfig) { cfg.TokenFile = file })
	sub, got := subscribe(t, newTestHub(t, HubConfig{}), c, Query{Service: "orders"})
	eventually(t, patience, "listed with the right token", got.fresh("[::1]:81"))
	if err := os.WriteFile(file, []byte(blind.SecretID), 0o600); err != nil {
		t.Fatal(err)
	}
	next := 82 // a query that blocks since before the change still has the old token
	eventually(t, patience, "denied: last known kept", func() bool {
		next++
		put(agent, "b", next)
		return got.last().Stale && strings.Contains(sub.watch.status(time.Now()).Err, ErrDenied.Error())
	})
	for _, u := range got.history() {
		if len(u.Endpoints) == 0 {
			t.Fatalf("it went empty: %+v", got.history())
		}
	}
}

func TestConsulRegistrationIsRenewedAndDrainsInOrder(t *testing.T) {
	t.Parallel()
	agent := kit.StartConsul(t)
	c := client(t, agent)
	app, mesh := listener(t), listener(t)
	reg := Registration{Service: "orders", ID: "orders-1", Port: port(app), Tags: []string{"v1"}, Renew: 300 * time.Millisecond, PropagationWait: patience,
		Check: Check{Interval: 200 * time.Millisecond}, Proxy: &Proxy{Port: port(mesh)}}
	r, err := c.Register(t.Context(), reg)
	if err != nil {
		t.Fatal(err)
	}
	h := newTestHub(t, HubConfig{})
	_, direct := subscribe(t, h, c, Query{Service: "orders"})
	_, sidecar := subscribe(t, h, c, Query{Service: "orders", Connect: true})
	appAt, meshAt := app.Addr().String(), mesh.Addr().String()
	eventually(t, patience, "app passing", direct.fresh(appAt))
	eventually(t, patience, "sidecar passing", sidecar.fresh(meshAt))
	var known object
	if err := agent.Get("/v1/agent/service/orders-1-sidecar-proxy", &known); err != nil {
		t.Fatal(err)
	}
	proxy := known["Proxy"].(object)
	if known["Kind"] != "connect-proxy" || known["Service"] != "orders-sidecar-proxy" || proxy["DestinationServiceName"] != "orders" || proxy["DestinationServiceID"] != "orders-1" {
		t.Fatalf("not as Consul's own sidecar: %v", known)
	}
	app.Close() // the alias takes the sidecar down with the app
	eventually(t, patience, "app failing", direct.fresh())
	eventually(t, patience, "its sidecar too", sidecar.fresh())
	again, err := net.Listen("tcp", appAt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	eventually(t, patience, "healthy again", sidecar.fresh(meshAt))

	created := func() uint64 { // when the catalog got the sidecar; 0 while it has none
		var found []struct{ CreateIndex uint64 }
		if err := agent.Get("/v1/catalog/service/orders-sidecar-proxy", &found); err != nil || len(found) == 0 {
			return 0
		}
		return found[0].CreateIndex
	}
	first := created()
	if first == 0 {
		t.Fatal("the catalog has no sidecar")
	}
	agent.Put("/v1/agent/service/deregister/orders-1-sidecar-proxy", nil, nil)
	// It is gone only for a moment, which nobody need see.
	eventually(t, patience, "renewed after removal", func() bool { return created() > first && sidecar.fresh(meshAt)() })
	agent.Restart() // in dev mode the agent forgets
	eventually(t, 3*patience, "renewed after restart", func() bool { return sidecar.fresh(meshAt)() && direct.fresh(appAt)() })

	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	var listed []any
	for _, kind := range []string{"service", "connect"} {
		if err := agent.Get("/v1/health/"+kind+"/orders?passing", &listed); err != nil || len(listed) != 0 {
			t.Fatalf("drained, but %s lists %v, %v", kind, listed, err)
		}
	}
	if err := agent.Get("/v1/agent/service/orders-1", &known); err != nil {
		t.Fatalf("deregistered before Deregister: %v", err)
	}
	eventually(t, patience, "others see it", sidecar.fresh())

	// A process that died here and starts again is not in maintenance any more.
	if r, err = c.Register(t.Context(), reg); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "back from maintenance", sidecar.fresh(meshAt))
	if err := errors.Join(r.Drain(t.Context()), r.Deregister(t.Context())); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"orders-1", "orders-1-sidecar-proxy"} {
		if err := agent.Get("/v1/agent/service/"+id, &known); err == nil {
			t.Errorf("%s is still registered", id)
		}
	}

	var sick sync.Map
	ttl, err := c.Register(t.Context(), Registration{Service: "ttl", Port: 1, Check: Check{TTL: 600 * time.Millisecond, Probe: func(context.Context) error {
		if _, is := sick.Load("ttl"); is {
			return errors.New("sick")
		}
		return nil
	}}})
	if err != nil {
		t.Fatal(err)
	}
	_, got := subscribe(t, h, c, Query{Service: "ttl"})
	eventually(t, patience, "kept passing", got.fresh("127.0.0.1:1"))
	sick.Store("ttl", true)
	eventually(t, patience, "told sick", got.fresh())
	if err := ttl.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// listener is at a port that can be listened on again after Close.
func listener(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", kit.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

func TestConsulLeafAndRootsFollowRotation(t *testing.T) {
	t.Parallel()
	agent := kit.StartConsul(t)
	c := client(t, agent)
	var mu sync.Mutex
	var domain string
	var roots []string
	var leaves []string
	var watches sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer watches.Wait()
	defer cancel()
	watches.Go(func() {
		_ = c.WatchRoots(ctx, func(d string, r []string) { mu.Lock(); defer mu.Unlock(); domain, roots = d, r })
	})
	watches.Go(func() {
		_ = c.WatchLeaf(ctx, "orders", func(cert, key []byte) {
			mu.Lock()
			defer mu.Unlock()
			pair, err := tls.X509KeyPair(cert, key)
			if err != nil {
				t.Errorf("leaf: %v", err)
				return
			}
			leaves = append(leaves, pair.Leaf.URIs[0].String())
		})
	})
	locked := func(f func() bool) func() bool { return func() bool { mu.Lock(); defer mu.Unlock(); return f() } }
	eventually(t, patience, "roots and leaf", locked(func() bool { return len(roots) == 1 && len(leaves) > 0 }))
	mu.Lock()
	first, had := roots[0], len(leaves)
	if want := fmt.Sprintf("spiffe://%s/ns/default/dc/dc1/svc/orders", domain); leaves[0] != want {
		t.Errorf("leaf of %s, want %s", leaves[0], want)
	}
	mu.Unlock()
	agent.Put("/v1/connect/ca/configuration", object{"Provider": "consul", "Config": object{"LeafCertTTL": "72h", "PrivateKeyType": "ec", "PrivateKeyBits": 384}}, nil)
	eventually(t, patience, "both roots, the new one first", locked(func() bool { return len(roots) == 2 && roots[0] != first && roots[1] == first }))
	eventually(t, 4*patience, "a new leaf", locked(func() bool { return len(leaves) > had })) // the agent spreads this over 30 s
}

func TestConsulIntentionsWithPermissionsAndDefault(t *testing.T) {
	t.Parallel()
	agent := kit.StartConsul(t, kit.WithACL())
	c := client(t, agent, func(cfg *ConsulConfig) { cfg.Token = kit.ConsulToken })
	var mu sync.Mutex
	var told []Intentions
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		_ = c.WatchIntentions(ctx, "orders", func(i Intentions) { mu.Lock(); defer mu.Unlock(); told = append(told, i) })
	})
	last := func() Intentions { mu.Lock(); defer mu.Unlock(); return told[len(told)-1] }
	wait := func(what string, ok func(Intentions) bool) {
		t.Helper()
		eventually(t, patience, what, func() bool { mu.Lock(); n := len(told); mu.Unlock(); return n > 0 && ok(last()) })
	}
	wait("none, and the default of a denying cluster", func(i Intentions) bool { return len(i.List) == 0 && !i.DefaultAllow })
	agent.Put("/v1/config", object{"Kind": "service-defaults", "Name": "orders", "Protocol": "http"}, nil)
	agent.Put("/v1/config", object{"Kind": "service-intentions", "Name": "orders", "Sources": []object{
		{"Name": "*", "Action": "deny"},
		{"Name": "web", "Permissions": []object{
			{"Action": "deny", "HTTP": object{"PathExact": "/admin"}},
			{"Action": "allow", "HTTP": object{"PathPrefix": "/v1/", "Methods": []string{"GET"}, "Header": []object{{"Name": "x-a", "Exact": "1", "Invert": true}}}},
			{"Action": "allow", "HTTP": object{"PathRegex": "/r[0-9]+"}},
		}},
		{"Name": "batch", "Action": "allow"},
	}}, nil)
	wait("three", func(i Intentions) bool { return len(i.List) == 3 })
	list := last().List
	if list[2].Source != "*" || list[2].Allow || list[0].Precedence <= list[2].Precedence {
		t.Fatalf("not by falling precedence: %+v", list)
	}
	web := list[slices.IndexFunc(list, func(i Intention) bool { return i.Source == "web" })]
	if p := web.Perms; web.Allow || len(p) != 3 || p[0].Allow || p[0].PathExact != "/admin" || p[1].PathPrefix != "/v1/" || !p[1].Allow ||
		!slices.Equal(p[1].Methods, []string{"GET"}) || p[1].Headers[0] != (HeaderMatch{Name: "x-a", Exact: "1", Invert: true}) || p[2].PathRegex != "/r[0-9]+" {
		t.Fatalf("permissions lost: %+v", web)
	}
	agent.Put("/v1/config", object{"Kind": "jwt-provider", "Name": "idp", "JSONWebKeySet": object{"Remote": object{"URI": "https://idp.example/jwks"}}}, nil)
	agent.Put("/v1/config", object{"Kind": "service-intentions", "Name": "orders", "JWT": object{"Providers": []object{{"Name": "idp"}}},
		"Sources": []object{{"Name": "batch", "Action": "allow"}}}, nil)
	wait("a JWT is required", func(i Intentions) bool { return len(i.List) == 1 && i.List[0].Allow && i.RequiresJWT })
}

func TestConsulIntentionsDefaultAllow(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"allow", "deny"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			c := client(t, kit.StartConsul(t, kit.WithHCL(fmt.Sprintf("default_intention_policy = %q", policy))))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var got []Intentions
			_ = c.WatchIntentions(ctx, "orders", func(i Intentions) { got = append(got, i); cancel() })
			if len(got) != 1 || got[0].DefaultAllow != (policy == "allow") {
				t.Fatalf("got %+v", got)
			}
		})
	}
}
