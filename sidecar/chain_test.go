package sidecar

import (
	"strings"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/discovery"
	"lintel.dev/lintel/proxy/exchange"
)

func svcID(name string) string { return "spiffe://td.consul/ns/default/dc/dc1/svc/" + name }

// came is a call for user (nobody when empty) that came through these services.
func came(user, scope string, through ...string) *exchange.Exchange {
	x := call(svcID(through[len(through)-1]), "POST", "/pay/1")
	x.Txn = &exchange.Txn{}
	for _, name := range through {
		x.Txn.Chain = append(x.Txn.Chain, svcID(name))
	}
	if user != "" {
		x.Identity = &exchange.Identity{Subject: user, Scope: strings.Fields(scope)}
	}
	return x
}

func TestUsersReachPaymentsOnlyThroughOrders(t *testing.T) {
	everybody := []config.Allow{{From: []string{"*"}}}
	for _, c := range []struct {
		name    string
		require config.Require
		x       *exchange.Exchange
		code    string
	}{
		{"through orders", config.Require{For: "user", Through: []string{"orders"}}, came("ada", "", "ingress", "orders"), ""},
		{"through orders and another", config.Require{For: "user", Through: []string{"orders"}}, came("ada", "", "ingress", "orders", "billing"), ""},
		{"straight from the ingress", config.Require{For: "user", Through: []string{"orders"}}, came("ada", "", "ingress"), "chain-denied"},
		{"by another service", config.Require{For: "user", Through: []string{"orders"}}, came("ada", "", "ingress", "inventory"), "chain-denied"},
		{"a service of nearly that name", config.Require{For: "user", Through: []string{"orders"}}, came("ada", "", "ingress", "orders2"), "chain-denied"},
		{"a workload on its own", config.Require{For: "user", Through: []string{"orders"}}, came("", "", "jobs"), ""},
		{"users are not meant", config.Require{For: "workload", Through: []string{"orders"}}, came("ada", "", "ingress"), ""},
		{"a workload is meant", config.Require{For: "workload", Through: []string{"orders"}}, came("", "", "jobs"), "chain-denied"},
		{"in order", config.Require{Through: []string{"ingress", "orders"}}, came("ada", "", "ingress", "cart", "orders"), ""},
		{"out of order", config.Require{Through: []string{"orders", "ingress"}}, came("ada", "", "ingress", "cart", "orders"), "chain-denied"},
		{"twice asked, once there", config.Require{Through: []string{"orders", "orders"}}, came("ada", "", "ingress", "orders"), "chain-denied"},
		{"any", config.Require{ThroughAny: []string{"cart", "orders"}}, came("ada", "", "ingress", "cart"), ""},
		{"none of any", config.Require{ThroughAny: []string{"cart", "orders"}}, came("ada", "", "ingress"), "chain-denied"},
		{"direct", config.Require{DirectFrom: []string{"orders"}}, came("ada", "", "ingress", "orders"), ""},
		{"not direct", config.Require{DirectFrom: []string{"orders"}}, came("ada", "", "orders", "cart"), "chain-denied"},
		{"began at the edge", config.Require{BeganAt: []string{"ingress"}}, came("ada", "", "ingress", "cart"), ""},
		{"began inside", config.Require{BeganAt: []string{"ingress"}}, came("ada", "", "jobs", "ingress", "cart"), "chain-denied"},
		{"another path", config.Require{Paths: []string{"/admin/*"}, Through: []string{"orders"}}, came("ada", "", "ingress"), ""},
		{"another method", config.Require{Methods: []string{"GET"}, Through: []string{"orders"}}, came("ada", "", "ingress"), ""},
		{"with the scope", config.Require{Scope: []string{"pay", "read"}}, came("ada", "read pay", "ingress"), ""},
		{"without the scope", config.Require{Scope: []string{"pay"}}, came("ada", "payments", "ingress"), "scope-denied"},
		{"scope of nobody", config.Require{Scope: []string{"pay"}}, came("", "", "jobs"), "scope-denied"},
	} {
		p, err := newPolicy("payments", config.Policy{Allow: everybody, Require: []config.Require{c.require}}, consulIdentity(t), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		f := p.OnRequest(c.x).Fault()
		switch {
		case f == nil && c.code != "":
			t.Errorf("%s: let in", c.name)
		case f != nil && (f.Code != c.code || f.Status != 403 || f.Close || strings.Contains(f.Detail, "spiffe")):
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}

func TestARequirementHoldsForWhatConsulAllowsToo(t *testing.T) {
	in := given(t, discovery.Intentions{List: []discovery.Intention{{Source: "*", Allow: true}}, DefaultAllow: true})
	p, err := newPolicy("payments", config.Policy{Default: "consul", Intentions: true,
		Require: []config.Require{{Through: []string{"orders"}}}}, consulIdentity(t), in)
	if err != nil {
		t.Fatal(err)
	}
	if f := p.OnRequest(came("ada", "", "ingress")).Fault(); f == nil || f.Code != "chain-denied" {
		t.Errorf("%+v", f)
	}
	if f := p.OnRequest(came("ada", "", "ingress", "orders")).Fault(); f != nil {
		t.Errorf("%+v", f)
	}
	alone := call("", "POST", "/pay/1") // nobody at all
	if f := p.OnRequest(alone).Fault(); f == nil {
		t.Error("nobody was let in")
	}
}

func TestAnAllowRuleMayAskForTheWay(t *testing.T) {
	p, err := newPolicy("payments", config.Policy{Allow: []config.Allow{
		{From: []string{"billing"}, Through: []string{"ingress", "orders"}},
		{From: []string{"cart"}, Scope: []string{"pay"}, User: true}}}, consulIdentity(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		x     *exchange.Exchange
		allow bool
	}{
		{came("ada", "", "ingress", "orders", "billing"), true}, {came("ada", "", "ingress", "billing"), false},
		{came("ada", "read pay", "cart"), true}, {came("ada", "read", "cart"), false},
	} {
		if f := p.OnRequest(c.x).Fault(); (f == nil) != c.allow || f != nil && f.Code != "peer-denied" {
			t.Errorf("%v: %+v", c.x.Txn.Chain, f)
		}
	}
}

func TestRequirementsThatCannotBeMeant(t *testing.T) {
	for want, c := range map[string]config.Require{
		"asks for nothing": {Paths: []string{"/x"}}, "through": {Through: []string{"spiffe://td/a*b"}}, "began_at": {BeganAt: []string{"../x"}},
		"paths": {Paths: []string{"x"}, Through: []string{"a"}}, "single word": {Scope: []string{"a b"}},
	} {
		if _, err := newPolicy("payments", config.Policy{Require: []config.Require{c}}, consulIdentity(t), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestRequirementsAllocateNothing(t *testing.T) {
	p, err := newPolicy("payments", config.Policy{Allow: []config.Allow{{From: []string{"*"}}},
		Require: []config.Require{{For: "user", Through: []string{"ingress", "orders"}, Scope: []string{"pay"}}}}, consulIdentity(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	x := came("ada", "pay", "ingress", "orders")
	if n := testing.AllocsPerRun(200, func() { _ = p.OnRequest(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestContextReachesTheAppInDeclaredHeaders(t *testing.T) {
	declared, err := contextHeaders(map[string]string{"X-Tenant": "tenant", "X-Groups": "groups", "X-None": "none"})
	if err != nil {
		t.Fatal(err)
	}
	p := &present{context: declared}
	var h exchange.Fields
	p.showContext(&h, map[string]any{"tenant": "acme", "groups": []any{"a", "b,c", "d"}, "none": map[string]any{}, "other": "x"})
	if h.Get("X-Tenant") != "acme" || h.Get("X-Groups") != "a,d" || h.Len() != 2 {
		t.Errorf("%q %q %d", h.Get("X-Tenant"), h.Get("X-Groups"), h.Len())
	}
	h.Reset()
	p.showContext(&h, map[string]any{"tenant": "a\r\nX-User-Id: root"})
	if h.Len() != 0 {
		t.Error("a line break reached the app")
	}
	for _, bad := range []map[string]string{{"host": "x"}, {"X_A": "x"}, {"": "x"}, {"X-A": ""}, {"X-User-Id": "x"}, {"txn-token": "x"}} {
		if _, err := contextHeaders(bad); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func TestExplainSaysWhatIsRequired(t *testing.T) {
	p, err := newPolicy("payments", config.Policy{Allow: []config.Allow{{From: []string{"*"}}}, Require: []config.Require{{For: "any", Paths: []string{"/pay/*"}, Through: []string{"ingress", "orders"}, Scope: []string{"pay"}}}}, consulIdentity(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	x := call(svcID("orders"), "GET", "/pay/1")
	x.Shadow = true
	if f := p.OnRequest(x).Fault(); f == nil || !strings.Contains(f.Detail, "step 1 of through") || !strings.Contains(f.Detail, "no chain but the caller") {
		t.Errorf("%+v", f)
	}
	if s := p.Explain(); !strings.HasSuffix(s, "; on top, required: calls to /pay/* through ingress, orders with scope pay") {
		t.Error(s)
	}
}
