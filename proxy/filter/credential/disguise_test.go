package credential

import (
	"slices"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

// A service that reads X_API_Key as X-API-Key, as CGI does, or "Bearer<tab>t" as
// "Bearer t", must not be given what was not verified.
func TestADisguisedCredentialIsOne(t *testing.T) {
	key := Place{Header: "X-API-Key"}
	bearer := Place{Header: "Authorization", Prefix: "Bearer"}
	for _, c := range []struct {
		name  string
		place Place
		x     *exchange.Exchange
		value string
		n     int
		left  []string
	}{
		{"underscores", key, request("", "X_API_Key: k"), "k", 1, nil},
		{"beside the plain one", key, request("", "X-API-Key: k", "x_api.key: l", "A: b"), "", 2, []string{"A: b"}},
		{"another name", key, request("", "X-API-Keys: k"), "", 0, []string{"X-API-Keys: k"}},
		{"tab after the scheme", bearer, request("", "Authorization: Bearer\tk"), "k", 1, nil},
		{"tab and space", bearer, request("", "Authorization: bearer \t k"), "k", 1, nil},
	} {
		value, n := c.place.Find(c.x)
		if value != c.value || n != c.n {
			t.Errorf("%s: found %q, %d", c.name, value, n)
		}
		if c.place.Remove(c.x); !slices.Equal(lines(c.x), c.left) {
			t.Errorf("%s: left %q", c.name, lines(c.x))
		}
	}
	x := request("", "X_API_Key: k")
	if _, n := key.Find(x); n == 1 {
		key.Take(x)
	}
	if len(lines(x)) > 0 {
		t.Errorf("taken, and there still: %q", lines(x))
	}
}

// Some services part the query at semicolons too, as Rack did until version 3.
func TestACredentialAfterASemicolonIsOne(t *testing.T) {
	key := Place{Header: "X-API-Key", Query: "api_key"}
	for _, c := range []struct{ query, value, left string }{
		{"a=1;api_key=k", "k", "a=1"},
		{"api_key=k;a=1", "k", "a=1"},
		{"a=1;b=2&api_key=k;c=3", "k", "a=1;b=2;c=3"},
		{"a=1;b=2", "", "a=1;b=2"},
		{"api_key=k;api_key=l", "", ""},
	} {
		x := request(c.query)
		if value, _ := key.Find(x); value != c.value {
			t.Errorf("%s: found %q", c.query, value)
		}
		if key.Remove(x); x.Request.Query != c.left || x.Original.Query != c.left {
			t.Errorf("%s: left %q, logged %q", c.query, x.Request.Query, x.Original.Query)
		}
	}
}
