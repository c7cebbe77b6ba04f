package sidecar

import (
	"slices"
	"testing"

	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

func TestPresentShowsWhatWasVerified(t *testing.T) {
	memory := txntoken.NewMemory(4)
	p := &present{memory: memory, token: true, userHeaders: true}
	x := &exchange.Exchange{Txn: &exchange.Txn{Token: "tok", ID: "t1", Chain: []string{"spiffe://td/a", "spiffe://td/b"}},
		Identity: &exchange.Identity{Subject: "ada", Roles: []string{"customer", "book club, admin"}, Scope: []string{"read", "a b"}}}
	p.OnRequest(x)
	for name, want := range map[string]string{"X-User-Id": "ada", "X-User-Roles": "customer", "X-User-Scope": "read",
		"X-Lintel-Txn": "t1", "X-Lintel-Chain": "spiffe://td/a, spiffe://td/b", "Txn-Token": "tok"} {
		if got := x.Request.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if x.Txn.Memory == "" || memory.Len() != 1 {
		t.Error("the transaction is not remembered")
	}
	x.RunDone()
	if memory.Len() != 0 {
		t.Error("the transaction outlives its exchange")
	}
	evil := &exchange.Exchange{Txn: &exchange.Txn{}, Identity: &exchange.Identity{Subject: "a\r\nX-Admin: 1"}}
	p.OnRequest(evil)
	evil.RunDone()
	if evil.Request.Header.Has("X-User-Id") {
		t.Error("a subject with a line break became a header")
	}
}

func TestPagesOfOtherSitesDoNotCallAsTheApp(t *testing.T) {
	c := &correlate{memory: txntoken.NewMemory(1)}
	for site, ok := range map[string]bool{"": true, "none": true, "same-origin": true, "cross-site": false, "same-site": false} {
		x := &exchange.Exchange{}
		if site != "" {
			x.Request.Header.Add("Sec-Fetch-Site", site)
		}
		if v := c.OnRequest(x); (v == filter.Next) != ok {
			t.Errorf("%q: %v", site, v.Fault())
		}
	}
}

func TestTheAppsCallsAreItsUsers(t *testing.T) {
	ada := &exchange.Txn{Token: "t", Subject: "ada", Scope: "read write", Context: map[string]any{
		txntoken.ContextIssuer: "https://id", txntoken.ContextRoles: []any{"admin"}}}
	for name, c := range map[string]struct {
		txn  *exchange.Txn
		want bool
	}{
		"a user's transaction": {ada, true}, "a workload's own": {&exchange.Txn{Token: "t", Subject: "spiffe://td/a", Self: true}, false},
		"a chain without a token": {&exchange.Txn{Subject: "ada"}, false},
	} {
		memory := txntoken.NewMemory(1)
		id, forget := memory.Remember(c.txn)
		x := &exchange.Exchange{}
		x.Request.Header.Add("tracestate", txntoken.AddState("", id))
		(&correlate{memory: memory}).OnRequest(x)
		forget()
		if x.Txn == nil || x.Txn.Subject != c.txn.Subject || (x.Identity != nil) != c.want {
			t.Fatalf("%s: transaction %+v, identity %+v", name, x.Txn, x.Identity)
		}
		if i := x.Identity; i != nil && (i.Issuer != "https://id" || i.Subject != "ada" || !slices.Equal(i.Roles, []string{"admin"}) || len(i.Scope) != 2) {
			t.Errorf("%s: %+v", name, i)
		}
	}
}

func TestUpstreamPortsTakeOnlyTheirOwnNames(t *testing.T) {
	for authority, ok := range map[string]bool{"127.0.0.1:9191": true, "[::1]:9191": true, "localhost:9191": true, "inventory": true,
		"inventory.service.consul:80": true, "attacker.example": false, "orders": false, "10.0.0.1": false, "": false, "a b": false} {
		if got := localName(authority, "inventory"); got != ok {
			t.Errorf("%q: %t", authority, got)
		}
	}
}

func TestCriticalIsBelievedOfThoseWhoMayAssert(t *testing.T) {
	only, err := txntoken.ParsePatterns([]string{webID, "spiffe://partner.example/svc/shop"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		peer, says string
		asserters  txntoken.Patterns
		want       exchange.Priority
	}{
		{webID, "critical", txntoken.Patterns{}, exchange.Critical},
		{"spiffe://partner.example/svc/shop", "critical", txntoken.Patterns{}, exchange.Default},
		{"spiffe://partner.example/svc/shop", "sheddable", txntoken.Patterns{}, exchange.Sheddable},
		{svcID("mallory"), "critical", only, exchange.Default},
		{webID, "critical", only, exchange.Critical},
		{"spiffe://partner.example/svc/shop", "critical", only, exchange.Critical},
	} {
		caller := &txntoken.HopExpect{Self: svcID("orders"), Peer: c.peer, Asserters: c.asserters}
		if got := believed(compose.Priority(c.says), caller); got != c.want {
			t.Errorf("%s says %s: %d, want %d", c.peer, c.says, got, c.want)
		}
	}
}
