package ingress

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/route"
)

const shaped2 = `
version: 1
listeners: [{name: edge, address: "127.0.0.1:0"}]
discovery: {consul: {address: "127.0.0.1:1"}}
services:
  plain: {static: ["127.0.0.1:1"]}
  other: {static: ["127.0.0.1:2"]}
  named: {dns: "localhost:1"}
  orders: {consul: {tags: [eu]}}
`

func checked(t *testing.T, routes string) (*route.Table, error) {
	t.Helper()
	s, err := config.Parse("f.yaml", []byte(shaped2+routes))
	if err != nil {
		return nil, err
	}
	return Check(s)
}

func TestWrongTrafficIsRefusedAtItsKey(t *testing.T) {
	for routes, want := range map[string]string{
		"routes: [{name: r, service: plain, split: [{service: other, weight: 1}]}]":                                              "exactly one of service, split",
		"routes: [{name: r, split: [{service: plain, weight: 1}]}]":                                                              "f.yaml:10: route r: split: found 1 side",
		"routes: [{name: r, split: [{service: plain, weight: 1}, {service: no, weight: 1}]}]":                                    `service "no" does not exist`,
		"routes: [{name: r, split: [{service: plain, weight: 1}, {service: plain, weight: 1}]}]":                                 "two sides are called plain",
		"routes: [{name: r, split: [{service: plain, weight: 1}, {service: plain, tags: [v2], weight: 1}]}]":                     "none of the 1 static endpoints of plain is v2",
		"routes: [{name: r, split: [{service: plain, weight: 1}, {service: named, meta: {version: v2}, weight: 1}]}]":            "which have neither tags nor metadata",
		"routes: [{name: r, split: [{service: plain, weight: 1}, {service: other}]}]":                                            "weight is missing",
		"routes: [{name: r, split: [{service: plain, weight: 0}, {service: other, weight: 0}]}]":                                 "every weight is 0",
		"routes: [{name: r, service: plain, sticky: {address: true}}]":                                                           "sticky is for a split",
		"routes: [{name: r, service: plain, rollback: {}}]":                                                                      "rollback is for a split",
		"routes: [{name: r, respond: {}, mirror: {service: plain}}]":                                                             "nothing is forwarded",
		"routes: [{name: r, redirect: {}, hedge: p95}]":                                                                          "nothing can be hedged",
		"routes: [{name: r, service: plain, mirror: {service: no}}]":                                                             `service "no" does not exist`,
		"routes: [{name: r, service: plain, mirror: {service: other, methods: [post]}}]":                                         `mirror.methods: found "post"`,
		"routes: [{name: r, split: [{service: plain, weight: 1}, {service: other, weight: 1}], sticky: {cookie: a, header: b}}]": "found 2 of cookie, header, claim and address",
	} {
		table, err := checked(t, routes)
		if err == nil {
			table.Release()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n%v, want %q", routes, err, want)
		}
	}
	s, err := config.Parse("f.yaml", []byte(strings.Replace(shaped2, `"127.0.0.1:1"}}`, `"127.0.0.1:1", kv: lintel/edge}}`, 1)+"routes: []"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Check(s); err == nil || !strings.Contains(err.Error(), "ends with /") {
		t.Errorf("a prefix without an end: %v", err)
	}
}

// The side is known before a cache looks, and a copy is made last of all.
func TestWhereTheStepsOfASplitStand(t *testing.T) {
	table, err := checked(t, `
routes:
  - name: r
    filters:
      - headers: {request: {set: {X-A: b}}}
      - cache: {ttl: 1m}
      - security_headers
    split:
      - {service: orders, tags: [v1], weight: 1}
      - {service: orders, meta: {version: v2}, weight: 0, when: [{header: {X-Canary: "1"}}]}
    mirror: {service: plain}
`)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	r := table.Routes()[0]
	var kinds []string
	for _, f := range r.Filters {
		kinds = append(kinds, f.Kind)
	}
	if got := strings.Join(kinds, " "); got != "headers split cache security_headers mirror mirror_body" {
		t.Error(got)
	}
	for canary, want := range map[string]string{"": "orders@v1", "1": "orders@version=v2"} {
		x := &exchange.Exchange{}
		x.Request.Method, x.Request.Authority, x.Request.Path = "GET", "a.example", "/"
		if canary != "" {
			x.Request.Header.Add("X-Canary", canary)
		}
		e := table.Explain(x, route.Asking{Path: route.Strict})
		if e.Service != want || !strings.Contains(e.Filters[len(e.Filters)-5].Inputs, "side "+want) || !strings.Contains(e.Filters[len(e.Filters)-5].Settings, "orders@v1 100%") {
			t.Errorf("%q: %+v", canary, e)
		}
	}
	table.Acquire() // what the admin API shows
	text, err := json.Marshal(compose.Routes(table))
	if want := `"mirror":"plain","filters":["headers","split","cache","security_headers","mirror","mirror_body"],"split":[{"side":"orders@v1","weight":1,"in_force":1,"condition":false}`; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("%s %v", text, err)
	}
}

// Towards the mesh it must be said what becomes of a client's credential, for
// every side and for copies too.
func TestAMeshSideAndAMeshMirrorMustSayWhatBecomesOfAuthorization(t *testing.T) {
	const mesh = `
version: 1
listeners: [{name: edge, address: "127.0.0.1:0"}]
discovery: {consul: {}}
identity: {source: embedded}
services:
  plain: {static: ["127.0.0.1:1"]}
  orders: {mesh: true}
`
	for routes, want := range map[string]string{
		"routes: [{name: r, split: [{service: plain, weight: 1}, {service: orders, weight: 0}]}]":                      "say authorization: forward or authorization: drop",
		"routes: [{name: r, authorization: drop, split: [{service: plain, weight: 1}, {service: orders, weight: 0}]}]": "",
		"routes: [{name: r, service: plain, mirror: {service: orders}}]":                                               "say authorization: drop here",
		"routes: [{name: r, service: plain, mirror: {service: orders, authorization: drop}}]":                          "",
		"routes: [{name: r, service: plain, authorization: forward, mirror: {service: orders}}]":                       "",
	} {
		s, err := config.Parse("f.yaml", []byte(mesh+routes))
		if err != nil {
			t.Fatal(err)
		}
		table, err := Check(s)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", routes, err, want)
		}
		if err != nil {
			continue
		}
		r := table.Routes()[0]
		// Internal tokens are for the service that is in the mesh, whichever it is.
		if meshed := r.Cluster == nil; (r.Before != nil) != meshed || r.Shadow != nil && r.Shadow.Before == nil {
			t.Errorf("%s: who vouches is wrong", routes)
		}
		table.Release()
	}
}

// What a route's filters look for must not go to the mirror with drop, also where
// they hand it on, and must with the default.
func TestABareMirrorHasNoCredentials(t *testing.T) {
	const filters = `
routes:
  - name: r
    service: plain
    filters:
      - any_of:
          - api_key: {header: X-Shop-Key, query: key, forward: true}
          - all_of:
              - jwt: {iss: any, header: X-Token, cookie: session, query: token, forward: true, keys: [{secret: "0123456789abcdef0123456789abcdef", kid: a}]}
              - client_cert: {forward: true}
      - ext_authz: {url: "http://127.0.0.1:1/", on_error: deny, request_headers: [X-Ticket, X-Sso-*]}
    mirror: {service: other`
	for drop, how := range map[bool]string{false: "}\n", true: ", authorization: drop}\n"} {
		table, err := checked(t, filters+how)
		if err != nil {
			t.Fatal(err)
		}
		var copied *exchange.Exchange
		x := &exchange.Exchange{}
		x.Again = func(x *exchange.Exchange, prepare func(*exchange.Exchange)) bool {
			copied = x.Detached()
			prepare(copied)
			return true
		}
		x.Request.Method, x.Request.Path, x.Request.Query = "GET", "/", "a=1&key=s3&token=s3&b=2"
		secret := []string{"Authorization", "Cookie", "X-Shop-Key", "x_shop_key", "X-Token", "Client-Cert", "X-Ticket", "X-Sso-Id"}
		for _, name := range secret {
			x.Request.Header.Add(name, "session=s3")
		}
		x.Request.Header.Add("X-User", "ada")
		for _, in := range table.Routes()[0].Filters {
			if in.Kind == "mirror" {
				in.Request.OnRequest(x)
			}
		}
		table.Release()
		if copied == nil {
			t.Fatal("no copy")
		}
		for _, name := range secret {
			if copied.Request.Header.Has(name) == drop {
				t.Errorf("drop %t: %s is %q", drop, name, copied.Request.Header.Get(name))
			}
		}
		want := "a=1&key=s3&token=s3&b=2"
		if drop {
			want = "a=1&b=2"
		}
		h := &copied.Request.Header
		if copied.Request.Query != want || h.Get("X-User") != "ada" || h.Get("X-Lintel-Mirror") != "1" {
			t.Errorf("drop %t: query %q, %v", drop, copied.Request.Query, h)
		}
		if q := x.Request.Query; q != "a=1&key=s3&token=s3&b=2" || !x.Request.Header.Has("X-Shop-Key") {
			t.Errorf("the request itself: %q %v", q, x.Request.Header)
		}
	}
}

// A side of a static list has the entries that it names, and in the mesh the
// identity of the whole service.
func TestASideOfAStaticList(t *testing.T) {
	s, err := config.Parse("f.yaml", []byte(`
version: 1
services:
  a: {static: [{address: "h:1", tags: [v1, blue]}, {address: "h:2", tags: [v2, blue], meta: {tier: gold}}, "h:3"]}
`))
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarding{fail: func(key, format string, args ...any) error { return fmt.Errorf(key+": "+format, args...) }}
	for _, c := range []struct {
		tags []string
		meta map[string]string
		want string
	}{
		{[]string{"blue"}, nil, "h:1 h:2"},
		{[]string{"blue", "v2"}, nil, "h:2"},
		{nil, map[string]string{"tier": "gold"}, "h:2"},
		{[]string{"v1"}, map[string]string{"tier": "gold"}, "split: none of the 3 static endpoints of a is v1+tier=gold: give some those tags and that meta"},
	} {
		svc, err := f.part("split", "a", s.Services["a"], c.tags, c.meta)
		var got []string
		for _, e := range svc.Static {
			got = append(got, e.Address)
		}
		if err != nil {
			got = []string{err.Error()}
		} else if svc.Consul.Service != "a" {
			t.Errorf("known to the mesh as %q", svc.Consul.Service)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v %v: %v, want %s", c.tags, c.meta, got, c.want)
		}
	}
	if len(s.Services["a"].Static) != 3 {
		t.Error("the service itself was cut")
	}
}
