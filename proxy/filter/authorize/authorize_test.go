package authorize

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newFilter(t testing.TB, c Config) *Filter {
	t.Helper()
	f, err := Kind().Build(&c, &filter.Env{Consumers: []filter.Consumer{{Name: "shop", Tags: map[string]string{"plan": "gold"}}, {Name: "bare"}}})
	if err != nil {
		t.Fatal(err)
	}
	out := f.(*Filter)
	out.now = func() time.Time { return time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC) } // a Monday
	return out
}

// request is ada's, of staff, through the consumer shop.
func request() *exchange.Exchange {
	x := &exchange.Exchange{Route: "orders", ClientIP: netip.MustParseAddr("10.1.2.3"), Consumer: "shop",
		Peer: exchange.Peer{ID: "spiffe://corp/svc/web", TrustDomain: "corp"}}
	x.Request.Method, x.Request.Scheme, x.Request.Authority = "GET", "https", "Shop.Example.com.:8443"
	x.Request.Path, x.Request.Query = "/orders/7", "a=1&b=%41+b&dup=1&dup=2&e"
	x.Params = []exchange.Param{{Name: "id", Value: "7"}, {Name: "user", Value: "a%7Cb"}, {Name: "rest", Value: "c%2Fd"}}
	x.Request.Header.Add("X-Tenant", "acme")
	x.Request.Header.Add("Accept", "text/html")
	x.Request.Header.Add("accept", "text/plain")
	x.Identity = &exchange.Identity{Subject: "ada", Issuer: "https://issuer", Roles: []string{"staff", "dev"}, Scope: []string{"read"},
		Claims: map[string]any{"level": int64(3), "ratio": 0.5, "vip": true, "num": json.Number("7"), "name": "Ada",
			"org": map[string]any{"id": "acme"}, "list": []any{"a", int64(1)}}}
	return x
}

func TestExpressionsSeeTheRequest(t *testing.T) {
	for expression, want := range map[string]string{
		`request.method == "GET"`:                                                                    "passes",
		`request.method in ["PUT", "POST"]`:                                                          "not-allowed",
		`request.scheme == "https" && request.host == "shop.example.com"`:                            "passes",
		`request.path.startsWith("/orders/")`:                                                        "passes",
		`request.path.matches("^/orders/[0-9]+$")`:                                                   "passes",
		`request.query["a"] == "1" && request.query.b == "A b" && request.query["e"] == ""`:          "passes",
		`request.query["dup"] == "1"`:                                                                "given more than once",
		`"dup" in request.query && !("none" in request.query)`:                                       "passes",
		`request.query[?"none"].orValue("x") == "x"`:                                                 "passes",
		`request.query["none"] == ""`:                                                                "no such key",
		`request.query.exists(k, k == "b")`:                                                          "passes",
		`size(request.query) == 4`:                                                                   "passes",
		`request.params.id == "7" && request.params.user == "a|b" && request.params.rest == "c%2Fd"`: "passes",
		`request.params.all(k, k in ["id", "user", "rest"])`:                                         "passes",
		`request.headers["x-tenant"] == "acme" && request.headers["X-Tenant"] == "acme"`:             "passes",
		`request.headers["accept"] == "text/html, text/plain"`:                                       "passes",
		`has(request.headers.accept) && !has(request.headers.cookie)`:                                "passes",
		`request.headers["cookie"] == ""`:                                                            "no such key",
		`request.headers.exists(k, k == "x-tenant" && request.headers[k] == "acme")`:                 "passes",
		`size(request.headers) == 2`:                                                                 "passes",
		`request.headers == {"x-tenant": "acme"}`:                                                    "not-allowed",
		`request.route == "orders"`:                                                                  "passes",
		`identity.subject == "ada" && identity.issuer == "https://issuer"`:                           "passes",
		`"staff" in identity.roles && !("admin" in identity.roles)`:                                  "passes",
		`sets.intersects(identity.roles, ["admin", "dev"])`:                                          "passes",
		`"read" in identity.scope`:                                                                   "passes",
		`claims.level >= 3 && claims.ratio < 1 && claims.vip && claims.num == 7`:                     "passes",
		`claims.vip`:   "passes",
		`claims.level`: "expected true or false, found int",
		`claims.org.id == request.headers["x-tenant"]`:            "passes",
		`"a" in claims.list`:                                      "passes",
		`claims.none == "x"`:                                      "no such key",
		`has(claims.none) && claims.none == "x"`:                  "not-allowed",
		`claims.name.lowerAscii() == "ada"`:                       "passes",
		`consumer.name == "shop" && consumer.tags.plan == "gold"`: "passes",
		`peer.id == "spiffe://corp/svc/web"`:                      "passes",
		`peer.trust_domain == "corp"`:                             "passes",
		`client.ip == "10.1.2.3"`:                                 "passes",
		`client.ip.inCidr("10.0.0.0/8")`:                          "passes",
		`client.ip.inCidr(["192.0.2.0/24", "fd00::/8"])`:          "not-allowed",
		`client.ip.inCidr(["192.0.2.0/24", "10.1.2.3"])`:          "passes",
		`request.headers["x-tenant"].inCidr("10.0.0.0/8")`:        "expected an address",
		`client.ip.inCidr(request.headers["x-tenant"])`:           "expected a range",
		`now.getDayOfWeek() == 1 && now.getHours("UTC") == 9 && now.getHours("Europe/Berlin") == 10`: "passes",
		`now < timestamp("2027-01-01T00:00:00Z")`:                                                    "passes",
		`now - timestamp("2026-03-02T09:00:00Z") == duration("30m")`:                                 "passes",
		`int(request.headers["x-tenant"]) == 1`:                                                      "authorize-failed",
		`1 / int(request.query["a"] == "1" ? 0 : 1) == 1`:                                            "authorize-failed",
	} {
		got := newFilter(t, Config{Allow: expression}).Account(request())
		if want == "passes" && got != want || want != "passes" && (got == "passes" || !strings.Contains(got, want)) {
			t.Errorf("%s: %s, want %s", expression, got, want)
		}
	}
}

func TestARequestOfNobody(t *testing.T) {
	for expression, want := range map[string]string{
		`identity.subject == "" && identity.issuer == "" && consumer.name == "" && peer.id == ""`: "passes",
		`size(identity.roles) == 0 && size(identity.scope) == 0 && size(claims) == 0`:             "passes",
		`size(consumer.tags) == 0 && size(request.headers) == 0 && size(request.query) == 0`:      "passes",
		`"staff" in identity.roles`:     "not-allowed",
		`claims.sub == ""`:              "authorize-failed",
		`consumer.tags.plan == "gold"`:  "authorize-failed",
		`client.ip == ""`:               "passes",
		`client.ip.inCidr("0.0.0.0/0")`: "authorize-failed",
	} {
		if got := newFilter(t, Config{Allow: expression}).Account(&exchange.Exchange{}); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", expression, got, want)
		}
	}
	x := &exchange.Exchange{Consumer: "bare", Identity: &exchange.Identity{Subject: "ada"}}
	if got := newFilter(t, Config{Allow: `size(consumer.tags) == 0 && !("x" in claims)`}).Account(x); got != "passes" {
		t.Error(got)
	}
}

// A query that a service may read in another way has no values at all.
func TestAmbiguousQueriesDeny(t *testing.T) {
	f := newFilter(t, Config{Rules: []Rule{{When: `"admin" in request.query`}}})
	for query, want := range map[string]string{
		"a=1": "passes", "admin=1": "not-allowed", "%61dmin": "not-allowed", "a=1;admin=1": "authorize-failed",
		"a=%zz": "authorize-failed", "a=%4": "authorize-failed", "%": "authorize-failed", "": "passes", "&&": "passes", "=": "passes",
	} {
		x := request()
		x.Request.Query = query
		if got := f.Account(x); !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
}

func TestRulesComeFirstAndInOrder(t *testing.T) {
	f := newFilter(t, Config{
		Rules: []Rule{
			{When: `request.method == "PUT"`, Deny: Deny{Status: 405, Code: "read-only", Title: "Read only"}},
			{When: `request.method != "GET"`, Deny: Deny{Status: 401}},
		},
		Allow: `"staff" in identity.roles`,
		Deny:  Deny{Status: 404, Code: "no-route", Title: "No such route"},
	})
	for _, c := range []struct {
		method string
		roles  []string
		status int
		code   string
	}{
		{"GET", []string{"staff"}, 0, ""},
		{"PUT", []string{"staff"}, 405, "read-only"},
		{"POST", []string{"staff"}, 401, "not-allowed"},
		{"GET", nil, 404, "no-route"},
	} {
		x := request()
		x.Request.Method, x.Identity.Roles = c.method, c.roles
		v := f.OnRequest(x)
		if c.status == 0 {
			if v != filter.Next {
				t.Errorf("%+v: %v", c, v.Fault())
			}
			continue
		}
		fault := v.Fault()
		if fault == nil || fault.Status != c.status || fault.Code != c.code || fault.Source != exchange.FromPolicy || fault.Title == "" {
			t.Errorf("%+v: %+v", c, fault)
		}
		if challenged := fault != nil && len(fault.Header) == 1; challenged != (c.status == 401) {
			t.Errorf("%+v: %+v", c, fault.Header)
		}
	}
}

func TestWhatCannotBeEvaluatedDeniesAndSaysNothing(t *testing.T) {
	for _, c := range []Config{
		{Allow: `claims.none == "x"`}, {Rules: []Rule{{When: `claims.none == "x"`}}},
		{Allow: `true`, Rules: []Rule{{When: `request.headers["none"] == "x"`}}},
	} {
		fault := newFilter(t, c).OnRequest(request()).Fault()
		if fault == nil || fault.Status != 403 || fault.Code != "authorize-failed" || strings.Contains(fault.Detail, "none") || fault.Err == nil {
			t.Errorf("%+v: %+v", c, fault)
		}
	}
}

func TestEvaluationIsBounded(t *testing.T) {
	f := newFilter(t, Config{Allow: `request.headers.all(a, request.headers.all(b, a + b != "x"))`, CostLimit: 1000})
	x := request()
	if got := f.Account(x); got != "passes" {
		t.Fatal(got)
	}
	for i := range 100 {
		x.Request.Header.Add("X-"+strings.Repeat("a", i), "1")
	}
	if fault := f.OnRequest(x).Fault(); fault == nil || fault.Code != "authorize-failed" || !strings.Contains(fault.Err.Error(), "cost limit") {
		t.Errorf("%+v", fault)
	}
	x.Request.Path = "/" + strings.Repeat("a", 60<<10)
	if fault := newFilter(t, Config{Allow: `request.path.matches("^/(a|b|aa)*$")`, CostLimit: 1000}).OnRequest(x).Fault(); fault == nil || fault.Code != "authorize-failed" {
		t.Errorf("%+v", fault)
	}
}

func TestBadExpressionsNameTheirKey(t *testing.T) {
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{Config{}, "", "neither allow nor rules"},
		{Config{Allow: "  "}, "", "neither allow nor rules"},
		{Config{Allow: `reqest.method == "GET"`}, "allow", "column 7: undeclared reference to 'reqest.method' (did you mean 'request.method'?); known are request.method, "},
		{Config{Allow: `request.methd == "GET"`}, "allow", "undeclared reference to 'request.methd' (did you mean 'request.method'?)"},
		{Config{Allow: `request.method ==`}, "allow", "Syntax error"},
		{Config{Allow: `request.method`}, "allow", "expected an expression that is true or false, found one that gives string"},
		{Config{Allow: `request.method == 7`}, "allow", "no matching overload"},
		{Config{Rules: []Rule{{When: "true"}, {When: "true &&\n  identity.roles == 'x'"}}}, "rules[1].when", "line 2, column 18: found no matching overload"},
		{Config{Allow: `request.path.matches("(")`}, "allow", "invalid matches argument"},
		{Config{Allow: `client.ip.inCidr("10.0.0.0/33")`}, "allow", `column 18: inCidr: expected a range such as 10.0.0.0/8, found "10.0.0.0/33"`},
		{Config{Allow: `client.ip.inCidr(["10.0.0.0/8", "x"])`}, "allow", `found "x"`},
		{Config{Allow: `[1,2,3].all(a, [1,2].all(b, [1].all(c, true)))`}, "allow", "nesting"},
		{Config{Allow: strings.Repeat("true && ", 2000) + "true"}, "allow", "size"},
		{Config{Allow: `size([1,2,3,4,5,6,7,8,9,10,11,12].map(a, [1,2,3,4,5,6,7,8,9,10].map(b, a * b))) > 0`, CostLimit: 100}, "allow", "every request would be denied"},
	} {
		_, err := Kind().Build(&c.cfg, &filter.Env{})
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) || strings.Contains(ce.Msg, "\n") {
			t.Errorf("%.80v:\n got %v\nwant %s: …%s…", c.cfg, err, c.path, c.msg)
		}
	}
}

func TestExplainShowsExpressionsAndTheirCost(t *testing.T) {
	f := newFilter(t, Config{Allow: `"staff" in identity.roles`, Rules: []Rule{{When: `request.method == "PUT"`}}})
	if got := f.Explain(); !strings.Contains(got, `403 not-allowed when request.method == "PUT" (cost `) || !strings.Contains(got, `allow "staff" in identity.roles (cost `) {
		t.Error(got)
	}
	if got := f.Account(request()); got != "passes" {
		t.Error(got)
	}
}

// What is searched often is indexed; both ways find the same.
func TestManyLooksFindTheSame(t *testing.T) {
	for _, c := range []string{
		`request.headers["x-tenant"] == "acme" && request.headers["X-Tenant"] == "acme"`, `request.headers["accept"] == "text/html, text/plain"`,
		`request.query["b"] == "A b"`, `"dup" in request.query`, `!("none" in request.query) && !("none" in request.headers)`, `request.params.user == "a|b"`,
	} {
		for _, n := range []int{1, 20} {
			if got := newFilter(t, Config{Allow: strings.Repeat(c+" && ", n) + "true"}).Account(request()); got != "passes" {
				t.Errorf("%d times %s: %s", n, c, got)
			}
		}
	}
	f := newFilter(t, Config{Allow: strings.Repeat(`"a" in request.query && `, 20) + `request.query["dup"] == "1"`})
	if got := f.Account(request()); !strings.Contains(got, "more than once") {
		t.Error(got)
	}
}

// However much a client sends, an expression that walks it ends soon.
func TestLargeRequestsAreJudgedSoon(t *testing.T) {
	x := request()
	var q strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&q, "p%d=1&", i)
	}
	x.Request.Query = q.String()
	for i := range 128 {
		x.Request.Header.Add(fmt.Sprintf("X-%d", i), "v")
	}
	for _, expression := range []string{`request.query.all(k, request.query[k] != "x")`, `request.headers.all(a, request.headers.exists(b, true))`,
		`request.query.all(k, request.query.exists(l, true))`, `request.query.all(k, k in request.headers || size(request.query) > 0)`} {
		f := newFilter(t, Config{Allow: expression, CostLimit: 100000})
		began := time.Now()
		f.OnRequest(x)
		took := time.Since(began)
		t.Log(took, expression)
		if took > time.Second {
			t.Errorf("%v: %s", took, expression)
		}
	}
}

func TestFewAllocations(t *testing.T) {
	for expression, most := range map[string]float64{
		`request.method == "GET"`:                  6,
		`request.headers["x-tenant"] == "acme"`:    8,
		`"staff" in identity.roles`:                8,
		`request.path.matches("^/orders/[0-9]+$")`: 8,
		`client.ip.inCidr("10.0.0.0/8")`:           8,
	} {
		f, x := newFilter(t, Config{Allow: expression}), request()
		n := testing.AllocsPerRun(1000, func() {
			if f.OnRequest(x) != filter.Next {
				t.Fatal(expression)
			}
		})
		t.Logf("%v allocations: %s", n, expression)
		if n > most {
			t.Errorf("%v allocations, at most %v: %s", n, most, expression)
		}
	}
}

func BenchmarkAuthorize(b *testing.B) {
	for name, expression := range map[string]string{
		"method": `request.method == "GET"`, "role": `"staff" in identity.roles`, "header": `request.headers["x-tenant"] == "acme"`,
		"regex": `request.path.matches("^/orders/[0-9]+$")`, "claim": `claims.org.id == request.headers["x-tenant"]`,
		"several": `request.method == "GET" && "staff" in identity.roles && client.ip.inCidr("10.0.0.0/8")`,
	} {
		b.Run(name, func(b *testing.B) {
			f, x := newFilter(b, Config{Allow: expression}), request()
			b.ReportAllocs()
			for b.Loop() {
				f.OnRequest(x)
			}
		})
	}
}
