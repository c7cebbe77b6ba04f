package cache

import (
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

// A service has its own answers forgotten by what it names, and nobody else's.
func TestALocationElsewhereForgetsNothing(t *testing.T) {
	at := func(scheme, authority string, x *exchange.Exchange) *exchange.Exchange {
		x.Request.Scheme, x.Request.Authority = scheme, authority
		return x
	}
	for _, c := range []struct {
		scheme, authority, names string
		gone                     bool
	}{
		{"https", "api.example", "https://api.example/a", true},
		{"https", "api.example", "//api.example/a", true},
		{"https", "other.example", "https://other.example/a", false},
		{"https", "other.example", "//other.example/a", false},
		{"https", "api.example:8443", "https://api.example:8443/a", false},
		{"http", "api.example", "http://api.example/a", false},
		{"https", "api.example", "https://someone@api.example/a", false},
		{"https", "api.example", "https://api.example/%zz", false},
	} {
		r := newRig(t, Config{})
		r.do(at(c.scheme, c.authority, request("GET /a")), says(200, "a", "Cache-Control: max-age=60"))
		r.do(request("POST /b"), says(201, "", "Location: "+c.names))
		if gone := r.responses.Len() == 0; gone != c.gone {
			t.Errorf("Location: %s: what %s://%s keeps is gone: %v", c.names, c.scheme, c.authority, gone)
		}
	}
}
