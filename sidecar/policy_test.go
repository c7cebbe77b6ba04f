package sidecar

import (
	"log/slog"
	"strings"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/discovery"
	"lintel.dev/lintel/proxy/exchange"
)

func consulIdentity(t testing.TB) *compose.Identity {
	t.Helper()
	id, err := compose.OfflineIdentity(config.Identity{Source: "consul", Embedded: config.EmbeddedCA{TrustDomain: "td.consul"}})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func call(peer, method, path string) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Peer.ID = peer
	x.Request.Method, x.Request.Path = method, path
	return x
}

const webID = "spiffe://td.consul/ns/default/dc/dc1/svc/web"

func TestAllowRules(t *testing.T) {
	p, err := newPolicy("orders", config.Policy{Allow: []config.Allow{
		{From: []string{"web"}, Methods: []string{"GET"}, Paths: []string{"/orders/{id}", "/list/*"}},
		{From: []string{"spiffe://td.consul/ns/default/dc/dc1/svc/jobs"}, User: true},
	}}, consulIdentity(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	ada := call("spiffe://td.consul/ns/default/dc/dc1/svc/jobs", "POST", "/x")
	ada.Identity = &exchange.Identity{Subject: "ada"}
	for _, c := range []struct {
		name  string
		x     *exchange.Exchange
		allow bool
	}{
		{"named service, method and path", call(webID, "GET", "/orders/7"), true},
		{"a prefix", call(webID, "GET", "/list/a/b"), true},
		{"another method", call(webID, "POST", "/orders/7"), false},
		{"another path", call(webID, "GET", "/orders/7/items"), false},
		{"another caller", call("spiffe://td.consul/ns/default/dc/dc1/svc/webb", "GET", "/orders/7"), false},
		{"the same service of another trust domain", call("spiffe://evil.consul/ns/default/dc/dc1/svc/web", "GET", "/orders/7"), false},
		{"no caller", call("", "GET", "/orders/7"), false},
		{"for a user", ada, true},
		{"for nobody", call("spiffe://td.consul/ns/default/dc/dc1/svc/jobs", "POST", "/x"), false},
	} {
		v := p.OnRequest(c.x)
		if (v.Fault() == nil) != c.allow {
			t.Errorf("%s: %v", c.name, v.Fault())
		}
		known := c.x.Peer.ID == webID || c.x.Peer.ID == ada.Peer.ID
		if f := v.Fault(); f != nil && (f.Status != 403 || f.Close == known || f.Code != "peer-denied" || strings.Contains(f.Detail, "spiffe:")) {
			t.Errorf("%s: refused with %+v", c.name, f)
		}
	}
}

func TestPolicyRefusesWhatItCannotRead(t *testing.T) {
	for _, a := range []config.Allow{
		{From: []string{"../web"}}, {From: []string{"spiffe://td/a*b"}}, {From: []string{"web"}, Paths: []string{"orders"}},
		{From: []string{"web"}, Paths: []string{"/a/../b"}},
	} {
		if _, err := newPolicy("orders", config.Policy{Allow: []config.Allow{a}}, consulIdentity(t), nil); err == nil {
			t.Errorf("%+v was accepted", a)
		}
	}
}

func given(t *testing.T, in discovery.Intentions) *intentions {
	t.Helper()
	i := &intentions{id: consulIdentity(t)}
	i.state.Store(i.compile(in))
	return i
}

func TestIntentions(t *testing.T) {
	get := []discovery.Permission{
		{Allow: false, PathPrefix: "/admin"},
		{Allow: true, Methods: []string{"GET"}, PathRegex: "/orders/[0-9]+"},
		{Allow: true, PathExact: "/h", Headers: []discovery.HeaderMatch{{Name: "X-A", Exact: "Yes", IgnoreCase: true}, {Name: "X-B", Present: true, Invert: true}}},
	}
	web := discovery.Intention{Source: "web", Allow: true}
	h := call(webID, "POST", "/h")
	h.Request.Header.Add("x-a", "yes")
	hb := call(webID, "POST", "/h")
	hb.Request.Header.Add("x-a", "yes")
	hb.Request.Header.Add("x-b", "")
	lines := func(values ...string) *exchange.Exchange {
		x := call(webID, "GET", "/")
		for _, v := range values {
			x.Request.Header.Add("X-Role", v)
		}
		return x
	}
	only := func(allow bool, h discovery.HeaderMatch) discovery.Intentions { // the permission, and otherwise the opposite
		h.Name = "X-Role"
		return discovery.Intentions{List: []discovery.Intention{{Source: "web", Perms: []discovery.Permission{
			{Allow: allow, Headers: []discovery.HeaderMatch{h}}, {Allow: !allow, PathPrefix: "/"}}}}}
	}
	denied := func(p discovery.Permission) discovery.Intentions {
		return discovery.Intentions{List: []discovery.Intention{{Source: "web", Perms: []discovery.Permission{p, {Allow: true, PathPrefix: "/"}}}}}
	}
	all := func(partition, namespace string) discovery.Intentions {
		return discovery.Intentions{List: []discovery.Intention{{Source: "*", Partition: partition, Namespace: namespace, Allow: true}}}
	}
	const other = "spiffe://td.consul/ap/east/ns/other/dc/ns/svc/default"
	for _, c := range []struct {
		name      string
		byDefault bool
		in        discovery.Intentions
		x         *exchange.Exchange
		allow     bool
	}{
		{"allowed by name", false, discovery.Intentions{List: []discovery.Intention{web}}, call(webID, "GET", "/"), true},
		{"the first that names it decides", false, discovery.Intentions{List: []discovery.Intention{{Source: "web"}, {Source: "*", Allow: true}}}, call(webID, "GET", "/"), false},
		{"all are allowed", false, discovery.Intentions{List: []discovery.Intention{{Source: "*", Allow: true}}}, call(webID, "GET", "/"), true},
		{"of another cluster", false, discovery.Intentions{List: []discovery.Intention{{Source: "*", Peer: "east", Allow: true}}}, call(webID, "GET", "/"), false},
		{"Consul's default does not count by itself", false, discovery.Intentions{DefaultAllow: true}, call(webID, "GET", "/"), false},
		{"Consul's default counts when asked for", true, discovery.Intentions{DefaultAllow: true}, call(webID, "GET", "/"), true},
		{"Consul's default may deny", true, discovery.Intentions{}, call(webID, "GET", "/"), false},
		{"a service of another trust domain", false, discovery.Intentions{List: []discovery.Intention{web, {Source: "*", Allow: true}}},
			call("spiffe://evil.consul/ns/default/dc/dc1/svc/web", "GET", "/"), false},
		{"Consul's default is for its own trust domain", true, discovery.Intentions{DefaultAllow: true},
			call("spiffe://evil.consul/ns/default/dc/dc1/svc/web", "GET", "/"), false},
		{"nor for one whose name only begins alike", true, discovery.Intentions{DefaultAllow: true},
			call("spiffe://td.consul.evil/ns/default/dc/dc1/svc/web", "GET", "/"), false},
		{"a source that is no name is about nobody", true, discovery.Intentions{List: []discovery.Intention{{Source: "../web", Allow: true}}}, call(webID, "GET", "/"), false},
		{"a JWT requirement fails closed", true, discovery.Intentions{List: []discovery.Intention{web}, DefaultAllow: true, RequiresJWT: true}, call(webID, "GET", "/"), false},
		{"a permission denies first", false, discovery.Intentions{List: []discovery.Intention{{Source: "web", Perms: get}}}, call(webID, "GET", "/admin/x"), false},
		{"a permission allows", false, discovery.Intentions{List: []discovery.Intention{{Source: "web", Perms: get}}}, call(webID, "GET", "/orders/12"), true},
		{"an expression is for the whole path", false, discovery.Intentions{List: []discovery.Intention{{Source: "web", Perms: get}}}, call(webID, "GET", "/orders/12x"), false},
		{"no permission fits", false, discovery.Intentions{List: []discovery.Intention{{Source: "web", Perms: get, Allow: true}}}, call(webID, "POST", "/orders/12"), false},
		{"headers fit", false, discovery.Intentions{List: []discovery.Intention{{Source: "web", Perms: get}}}, h, true},
		{"an inverted header", false, discovery.Intentions{List: []discovery.Intention{{Source: "web", Perms: get}}}, hb, false},
		{"a broken expression never allows", false, discovery.Intentions{List: []discovery.Intention{{Source: "web", Perms: []discovery.Permission{{Allow: true, PathRegex: "("}}}}}, call(webID, "GET", "/"), false},
		{"a broken expression that denies, denies", false, discovery.Intentions{List: []discovery.Intention{{Source: "web", Perms: []discovery.Permission{{PathRegex: "("}, {Allow: true}}}}}, call(webID, "GET", "/"), false},
		{"a permission that asks for a JWT never allows", false, discovery.Intentions{List: []discovery.Intention{{Source: "web", Perms: []discovery.Permission{{Allow: true, RequiresJWT: true}}}}}, call(webID, "GET", "/"), false},
		{"a denied path in another spelling", false, denied(discovery.Permission{PathExact: "/v1/things%3apurge"}), call(webID, "GET", "/v1/things:purge"), false},
		{"a denied prefix in another spelling", false, denied(discovery.Permission{PathPrefix: "/v1/a%3Ab/."}), call(webID, "GET", "/v1/a:b/.c"), false},
		{"a prefix is not resolved", false, denied(discovery.Permission{PathPrefix: "/v1/a%3Ab/."}), call(webID, "GET", "/v1/a:b/c"), true},
		{"a denied header", false, only(false, discovery.HeaderMatch{Exact: "guest"}), lines("guest"), false},
		{"another line hides no denied header", false, only(false, discovery.HeaderMatch{Exact: "guest"}), lines("guest", ""), false},
		{"nor one in front", false, only(false, discovery.HeaderMatch{Suffix: "est"}), lines("guest", "x"), false},
		{"a list over two lines is denied", false, only(false, discovery.HeaderMatch{Exact: "a, b"}), lines("a", "b"), false},
		{"no denied line", false, only(false, discovery.HeaderMatch{Exact: "guest"}), lines("a", "b"), true},
		{"all but one value denied", false, only(false, discovery.HeaderMatch{Exact: "admin", Invert: true}), lines("admin"), true},
		{"all but one value denied, with both", false, only(false, discovery.HeaderMatch{Prefix: "admin", Invert: true}), lines("admin", "guest"), false},
		{"an allowed header", false, only(true, discovery.HeaderMatch{Prefix: "admin"}), lines("admin-1"), true},
		{"another line does not ride along", false, only(true, discovery.HeaderMatch{Prefix: "admin"}), lines("admin-1", "guest"), false},
		{"all lines are allowed", false, only(true, discovery.HeaderMatch{Prefix: "admin"}), lines("admin-1", "admin-2"), true},
		{"all but one value allowed, with both", false, only(true, discovery.HeaderMatch{Exact: "guest", Invert: true}), lines("guest", ""), false},
		{"all of the namespace", false, all("", "default"), call(webID, "GET", "/"), true},
		{"all of any namespace", false, all("", "*"), call(other, "GET", "/"), true},
		{"all of another namespace", false, all("", "other"), call(webID, "GET", "/"), false},
		{"a datacenter or service is no namespace", false, all("", "default"), call(other, "GET", "/"), false},
		{"a datacenter called ns", false, all("", "svc"), call(other, "GET", "/"), false},
		{"all of partition and namespace", false, all("east", "other"), call(other, "GET", "/"), true},
		{"all of another partition", false, all("default", "other"), call(other, "GET", "/"), false},
		{"identities without namespaces are of default", false, all("default", "default"), call("spiffe://td.consul/svc/web", "GET", "/"), true},
		{"and of no other", false, all("", "other"), call("spiffe://td.consul/svc/web", "GET", "/"), false},
	} {
		if r := given(t, c.in).decide(c.x, c.byDefault); r.allowed != c.allow || r.String() == "" {
			t.Errorf("%s: %t (%s)", c.name, r.allowed, r)
		}
	}
	if (&intentions{id: consulIdentity(t)}).decide(call(webID, "GET", "/"), true).allowed {
		t.Error("allowed before Consul has told anything")
	}
}

func TestServiceNames(t *testing.T) {
	for host, want := range map[string]string{
		"orders": "orders", "orders.service.consul": "orders", "orders.virtual.consul": "orders", "orders.mesh": "orders",
		"localhost": "", "127.0.0.1": "", "[::1]": "", "example.com": "", "a.b.service.consul": "", "": "", ".mesh": "",
	} {
		if got, ok := serviceName(host); got != want || ok != (want != "") {
			t.Errorf("%q: %q %t, want %q", host, got, ok, want)
		}
	}
}

func TestOnlyLoopbackMayCallAsTheService(t *testing.T) {
	for address, ok := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true,
		"0.0.0.0:1": false, ":1": false, "10.0.0.1:1": false, "[::]:1": false, "nonsense": false} {
		if err := onLoopback(address); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestARuleThatLetsNobodyInIsTold(t *testing.T) {
	var log strings.Builder
	c := &compiler{id: consulIdentity(t), log: slog.New(slog.NewTextHandler(&log, nil))}
	c.warnOfStrangers(config.Policy{Allow: []config.Allow{{From: []string{"*", "web", "spiffe://td.consul/x"}}, {From: []string{"spiffe://td.consull/x"}}}})
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "rule=sidecar.policy.allow[1] from=spiffe://td.consull/x") {
		t.Errorf("%s", got)
	}
}

// A denial in Consul that names the caller holds against allow rules of the file;
// one for everybody is what those are exceptions to.
func TestANamedDenialHoldsAgainstAllowRules(t *testing.T) {
	const jobs = "spiffe://td.consul/ns/default/dc/dc1/svc/jobs"
	denies := discovery.Intention{Source: "web"}
	partly := discovery.Intention{Source: "web", Perms: []discovery.Permission{{PathPrefix: "/admin"}, {Allow: true, Methods: []string{"GET"}}}}
	for _, c := range []struct {
		name   string
		list   []discovery.Intention
		x      *exchange.Exchange
		allow  bool
		stream bool // as an opaque stream
		closes bool
	}{
		{"nothing is said", nil, call(webID, "GET", "/"), true, true, false},
		{"it is allowed", []discovery.Intention{{Source: "web", Allow: true}}, call(webID, "GET", "/"), true, true, false},
		{"it is denied", []discovery.Intention{denies}, call(webID, "GET", "/"), false, false, true},
		{"it is denied in another datacenter", []discovery.Intention{denies}, call("spiffe://td.consul/ns/default/dc/dc2/svc/web", "GET", "/"), false, false, true},
		{"another is denied", []discovery.Intention{denies}, call(jobs, "GET", "/"), true, true, false},
		{"all are denied", []discovery.Intention{{Source: "*"}}, call(webID, "GET", "/"), true, true, false},
		{"the path is denied", []discovery.Intention{partly}, call(webID, "GET", "/admin/x"), false, true, false},
		{"another path", []discovery.Intention{partly}, call(webID, "GET", "/x"), true, true, false},
		{"no permission fits", []discovery.Intention{partly}, call(webID, "POST", "/x"), true, true, false},
		{"another trust domain's of the same name", []discovery.Intention{denies}, call("spiffe://partner.example/ns/default/dc/dc1/svc/web", "GET", "/"), true, true, false},
	} {
		for _, byDefault := range []string{"deny", "consul"} {
			p, err := newPolicy("orders", config.Policy{Intentions: true, Default: byDefault, Allow: []config.Allow{
				{From: []string{"*", "spiffe://partner.example/*"}}}}, consulIdentity(t), given(t, discovery.Intentions{List: c.list}))
			if err != nil {
				t.Fatal(err)
			}
			f := p.decide(c.x)
			if (f == nil) != c.allow || f != nil && (f.Close != c.closes || !strings.Contains(f.Err.Error(), "sidecar.policy.allow[0] would allow it")) {
				t.Errorf("%s, default %s: %+v", c.name, byDefault, f)
			}
			if err := p.connect(c.x.Peer.ID); (err == nil) != c.stream {
				t.Errorf("%s, default %s, as a stream: %v", c.name, byDefault, err)
			}
			if !c.allow && !strings.Contains(p.Account(c.x), "would allow") {
				t.Errorf("%s: %s", c.name, p.Account(c.x))
			}
		}
	}
	p, err := newPolicy("orders", config.Policy{Allow: []config.Allow{{From: []string{"web"}}}}, consulIdentity(t), given(t, discovery.Intentions{List: []discovery.Intention{denies}}))
	if err != nil {
		t.Fatal(err)
	}
	if f := p.decide(call(webID, "GET", "/")); f != nil {
		t.Errorf("intentions: false: %v", f.Err)
	}
}
