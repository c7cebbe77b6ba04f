package compose

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/exchange"
)

func contextOf(t *testing.T, declared map[string]config.TxnContext) TxnContext {
	t.Helper()
	for name, c := range declared {
		if c.MaxBytes == 0 {
			c.MaxBytes = 256
		}
		declared[name] = c
	}
	c, err := NewTxnContext(declared, "/orders/{order}")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func asking() *exchange.Exchange {
	x := &exchange.Exchange{Params: []exchange.Param{{Name: "order", Value: "7"}}}
	x.Request.Header.Add("X-Tenant", "acme")
	x.Request.Query = "page=1&color=light%20blue"
	x.Identity = &exchange.Identity{Subject: "ada", Method: "jwt", Claims: map[string]any{
		"org": map[string]any{"id": "o1", "n": json.Number("3")}, "a.b": "dotted", "groups": []any{"x", "y"}, "deep": map[string]any{}}}
	return x
}

func TestTheContextIsFilledFromDeclaredParts(t *testing.T) {
	c := contextOf(t, map[string]config.TxnContext{
		"tenant": {Header: "x-tenant"}, "org": {Claim: "org.id"}, "n": {Claim: "org.n"}, "dotted": {Claim: "a.b"}, "groups": {Claim: "groups"},
		"order": {PathParam: "order"}, "color": {Query: "color"}, "env": {Literal: "test"}, "absent": {Header: "X-None"}, "gone": {Claim: "org.id.x"},
		"elsewhere": {PathParam: "user", Required: true}, // this route has no such parameter
	})
	got, fault := c.fill(asking())
	want := map[string]any{"tenant": "acme", "org": "o1", "n": json.Number("3"), "dotted": "dotted", "groups": []any{"x", "y"}, "order": "7", "color": "light blue", "env": "test"}
	if fault != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, fault)
	}
}

func TestAHostileRequestGetsNoContext(t *testing.T) {
	for name, c := range map[string]struct {
		from   config.TxnContext
		change func(x *exchange.Exchange)
	}{
		"missing":            {config.TxnContext{Header: "X-None", Required: true}, nil},
		"header twice":       {config.TxnContext{Header: "X-Tenant"}, func(x *exchange.Exchange) { x.Request.Header.Add("x-tenant", "other") }},
		"query twice":        {config.TxnContext{Query: "color"}, func(x *exchange.Exchange) { x.Request.Query += "&color=red" }},
		"query in disguise":  {config.TxnContext{Query: "color"}, func(x *exchange.Exchange) { x.Request.Query += "&%63olor=red" }},
		"broken escape":      {config.TxnContext{Query: "color"}, func(x *exchange.Exchange) { x.Request.Query = "color=%zz" }},
		"control characters": {config.TxnContext{Query: "color"}, func(x *exchange.Exchange) { x.Request.Query = "color=a%0d%0ab" }},
		"no UTF-8":           {config.TxnContext{Query: "color"}, func(x *exchange.Exchange) { x.Request.Query = "color=%ff" }},
		"too long":           {config.TxnContext{Header: "X-Tenant", MaxBytes: 3}, nil},
		"an object":          {config.TxnContext{Claim: "org"}, nil},
		"list of numbers": {config.TxnContext{Claim: "groups"}, func(x *exchange.Exchange) {
			x.Identity.Claims["groups"] = []any{json.Number("1")}
		}},
	} {
		x := asking()
		if c.change != nil {
			c.change(x)
		}
		got, fault := contextOf(t, map[string]config.TxnContext{"part": c.from}).fill(x)
		if fault == nil || fault.Code != "txn-context" || fault.Status != 400 {
			t.Errorf("%s: %v, %v", name, got, fault)
		}
	}
	many := map[string]config.TxnContext{}
	for i := range 20 {
		many[strings.Repeat("n", i+1)] = config.TxnContext{Literal: strings.Repeat("v", 200)}
	}
	if _, fault := contextOf(t, many).fill(asking()); fault == nil {
		t.Error("parts without bound all together")
	}
}

func TestContextsThatCannotBeMeant(t *testing.T) {
	for want, declared := range map[string]map[string]config.TxnContext{
		"filled by Lintel": {"roles": {Header: "X-Roles", MaxBytes: 9}}, "exactly one": {"a": {Header: "A", Query: "b", MaxBytes: 9}},
		"found 0": {"a": {MaxBytes: 9}}, "credential": {"a": {Header: "authorization", MaxBytes: 9}}, "no name": {"a b": {Literal: "x", MaxBytes: 9}},
		"longer than": {"a": {Literal: "xxxx", MaxBytes: 2}},
	} {
		if _, err := NewTxnContext(declared, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", declared, err)
		}
	}
}

func TestARouteNarrowsTheScopeAndNeverWidensIt(t *testing.T) {
	has := []string{"read", "write"}
	for _, c := range []struct{ needed, want []string }{{nil, has}, {[]string{"read"}, []string{"read"}}, {[]string{"admin"}, nil}, {[]string{"admin", "write"}, []string{"write"}}} {
		if got := only(has, c.needed); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v", c.needed, got)
		}
	}
}

func TestAContextThatCannotBeMadeIsTheClientsFault(t *testing.T) {
	before := (&Sender{ID: &Identity{TrustDomain: "td"}}).Before(Mint{Context: contextOf(t, map[string]config.TxnContext{"tenant": {Header: "X-None", Required: true}})})
	err := before(asking(), &exchange.ConnInfo{PeerID: "spiffe://td/svc/b"})
	var f *exchange.Fault
	if !errors.As(err, &f) || f.Code != "txn-context" {
		t.Fatalf("%v", err)
	}
}
