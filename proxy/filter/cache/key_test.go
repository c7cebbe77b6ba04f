package cache

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func TestKeysDoNotMeet(t *testing.T) {
	r := newRig(t, Config{TTL: time.Minute})
	variants := []func(*exchange.Exchange){
		func(x *exchange.Exchange) {},
		func(x *exchange.Exchange) { x.Request.Scheme = "http" },
		func(x *exchange.Exchange) { x.Request.Authority = "other.example" },
		func(x *exchange.Exchange) { x.Request.Path = "/ab" },
		func(x *exchange.Exchange) { x.Request.Path, x.Request.Query = "/a", "b" },
		func(x *exchange.Exchange) { x.Request.Path, x.Request.Query = "/", "ab" },
		func(x *exchange.Exchange) { x.Request.Path = "/A" },
		func(x *exchange.Exchange) { x.Consumer = "c" },
		func(x *exchange.Exchange) { x.Identity = &exchange.Identity{Issuer: "i", Subject: "ab"} },
		func(x *exchange.Exchange) { x.Identity = &exchange.Identity{Issuer: "ia", Subject: "b"} },
		func(x *exchange.Exchange) {
			x.Identity = &exchange.Identity{Issuer: "i", Subject: "ab", Roles: []string{"admin"}}
		},
		func(x *exchange.Exchange) {
			x.Identity = &exchange.Identity{Issuer: "i", Subject: "ab", Scope: []string{"admin"}}
		},
		func(x *exchange.Exchange) {
			x.Consumer = "c"
			x.Request.Header.Add("Authorization", "Bearer 1")
		},
		func(x *exchange.Exchange) {
			x.Consumer = "c"
			x.Request.Header.Add("Authorization", "Bearer 2")
		},
		func(x *exchange.Exchange) { x.Txn = &exchange.Txn{Subject: "t"} },
	}
	for round := range 2 {
		for i, change := range variants {
			x := request("GET /a")
			change(x)
			if got := r.do(x, says(200, fmt.Sprint(i))); got != fmt.Sprint(i) {
				t.Fatalf("round %d: variant %d got the answer of %s", round, i, got)
			}
		}
	}
	if n := int(r.calls.Load()); n != len(variants) {
		t.Errorf("asked %d times, want %d", n, len(variants))
	}
	same := request("GET /a")
	same.Request.Authority = "API.example:443"
	if r.do(same, nil) != "0" {
		t.Error("the same authority spelled otherwise is another key")
	}
}

// A service that makes URLs of what a trusted proxy says must not have them
// given to who came another way; an unsafe method invalidates all of them.
func TestWhatProxiesSayChoosesTheAnswer(t *testing.T) {
	r := newRig(t, Config{TTL: time.Minute})
	cases := [][]string{
		nil, {"X-Forwarded-Host: evil.example"}, {"x_forwarded_host: other.example"}, {"X-Forwarded-Host: "},
		{"X-Forwarded-Host: a", "X-Forwarded-Host: b"}, {"X-Forwarded-Proto: http"}, {"X-Forwarded-Port: http"},
		{"X-Forwarded-Prefix: /x"}, {"Forwarded: host=evil.example"}, {"X-Original-Host: evil.example"},
		{"X-HTTP-Method-Override: DELETE"}, {"X-HTTP-Method: DELETE"}, {"X-Method-Override: DELETE"},
	}
	for round := range 2 {
		for i, lines := range cases {
			x := request("GET /a", lines...)
			if got := r.do(x, says(200, fmt.Sprint(i), `ETag: "1"`)); got != fmt.Sprint(i) {
				t.Fatalf("round %d: %q got the answer of %q", round, lines, got)
			}
		}
	}
	if n := int(r.calls.Load()); n != len(cases) {
		t.Errorf("asked %d times, want %d", n, len(cases))
	}
	// What is freshened stays with its claims.
	r.advance(2 * time.Minute)
	r.do(request("GET /a", cases[1]...), says(304, "", `ETag: "1"`))
	if got := r.do(request("GET /a"), says(200, "new")); got != "new" {
		t.Errorf("nobody's claims got %q", got)
	}
	if got := r.do(request("GET /a", "X-Forwarded-For: 192.0.2.1"), nil); got != "new" {
		t.Errorf("X-Forwarded-For chose %q", got)
	}
	r.do(request("POST /a"), says(200, ""))
	for _, lines := range cases[:2] {
		if got := r.do(request("GET /a", lines...), says(200, "after")); got != "after" {
			t.Errorf("%q: %q is left after an unsafe method", lines, got)
		}
	}
}

// Where only the transaction says who the user is, two issuers' users of one
// name and one user in two roles are different users.
func TestTransactionsOfDifferentTokensDoNotMeet(t *testing.T) {
	r := newRig(t, Config{TTL: time.Minute})
	for _, c := range []struct {
		txn    exchange.Txn
		method string // of the identity beside it, "" for none
		want   string
	}{
		{exchange.Txn{Token: "1", Subject: "ada", Scope: "read"}, "", "first"},
		{exchange.Txn{Token: "2", Subject: "ada", Scope: "read"}, "", "second"},
		{exchange.Txn{Token: "1", Subject: "ada", Scope: "read"}, "", "first"},
		{exchange.Txn{Token: "3", Subject: "spiffe://td/a", Self: true}, "", "self"},
		{exchange.Txn{Token: "4", Subject: "spiffe://td/a", Self: true}, "", "self"}, // a workload has no roles
		{exchange.Txn{Token: "1", Subject: "ada", Scope: "read"}, "jwt", "third"},
		{exchange.Txn{Token: "2", Subject: "ada", Scope: "read"}, "jwt", "fourth"},
		{exchange.Txn{Token: "1", Subject: "ada", Scope: "read"}, "txn", "fifth"},
		{exchange.Txn{Token: "2", Subject: "ada", Scope: "read"}, "txn", "fifth"}, // another request of the same user
	} {
		x := request("GET /a")
		x.Txn = &c.txn
		if c.method != "" {
			x.Identity = &exchange.Identity{Method: c.method, Issuer: "i", Subject: "ada"}
		}
		if got := r.do(x, says(200, c.want)); got != c.want {
			t.Errorf("%+v got %q", c.txn, got)
		}
	}
	if n := r.calls.Load(); n != 6 {
		t.Errorf("asked %d times, want 6", n)
	}
}

func TestVaryChoosesTheAnswer(t *testing.T) {
	r := newRig(t, Config{Vary: []string{"X-Extra"}})
	o := func(x *exchange.Exchange) *exchange.Fault {
		h := &x.Request.Header
		return says(200, h.Joined("Accept-Language")+"/"+h.Joined("X-Extra"), "Cache-Control: max-age=60", "Vary: Accept-Language")(x)
	}
	for range 2 {
		for _, c := range [][]string{{"de", "1"}, {"en", "1"}, {"de", "2"}, {"", ""}} {
			x := request("GET /", "Accept-Language: "+c[0], "X-Extra: "+c[1])
			if got := r.do(x, o); got != c[0]+"/"+c[1] {
				t.Fatalf("%v got %q", c, got)
			}
		}
	}
	if n := r.calls.Load(); n != 4 {
		t.Fatalf("asked %d times, want 4", n)
	}
}

// A service that tells users apart by a field that only later is put into the
// request must not have its answers shared, even if it calls them public.
func TestPublicVaryingByWhatIsNotSeenStaysWithItsUser(t *testing.T) {
	r := newRig(t, Config{})
	o := func(x *exchange.Exchange) *exchange.Fault {
		return says(200, x.Identity.Subject, "Cache-Control: public, max-age=60", "Vary: Authorization")(x)
	}
	for range 2 {
		for _, u := range []string{"a", "b"} {
			if got := r.do(user(request("GET /"), u), o); got != u {
				t.Fatalf("%s got the answer of %s", u, got)
			}
		}
	}
	if n := r.calls.Load(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

// Whatever a Vary says, an answer is given again only to a request whose fields
// of those names are the same.
func FuzzVary(f *testing.F) {
	f.Add("Accept, X-A", "x-a", "1", "2")
	f.Add("*", "a", "", "")
	f.Add(" ,a,, b ,", "A", "1", "1")
	f.Add("A\x00, b", "a", "1", "2")
	f.Fuzz(func(t *testing.T, vary, name, first, second string) {
		r := newRig(t, Config{})
		ask := func(value, body string) string {
			x := request("GET /")
			x.Request.Header.Add(name, value)
			return r.do(x, says(200, body, "Cache-Control: max-age=60", "Vary: "+vary))
		}
		ask(first, "one")
		got := ask(second, "two")
		named := false // an engine lets no field without a name pass
		for part := range strings.SplitSeq(vary, ",") {
			named = named || name != "" && is(trim(part), name) || trim(part) == "*"
		}
		if got == "one" && named && (first != second || strings.Contains(vary, "*") && trim(vary) == "*") {
			t.Fatalf("Vary %q, %s: what was made for %q was given to %q", vary, name, first, second)
		}
	})
}
