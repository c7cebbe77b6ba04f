package pipe

import (
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

func TestKindsAreFoundInAnyCase(t *testing.T) {
	want := map[string]kind{
		"Connection": nominates, "Proxy-Connection": hop, "Keep-Alive": hop, "TE": te, "Transfer-Encoding": hop,
		"Upgrade": upgrade, "Proxy-Authenticate": hop, "Proxy-Authorization": hop, "Host": framing, "Content-Length": framing,
		"": ordinary, "User-Agent": ordinary, "ETag": ordinary, "X-Connection": ordinary, "Connection-": ordinary, "TX": ordinary,
		"Proxy-Authorizatiom": ordinary, "Cookie": ordinary, "Transfer_Encoding": ordinary,
	}
	for name, k := range want {
		for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := kindOf(spelled); got != k {
				t.Errorf("%q is kind %d, want %d", spelled, got, k)
			}
		}
	}
}

func TestClaimsInAnySpelling(t *testing.T) {
	names := []string{"Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP",
		"X-Original-Host", "X-Original-Method", "X-Forwarded-For", "X-Forwarded-", "X-Forwarded-Anything", "X-Forwarded-User", "X-Forwarded-Port"}
	for _, name := range names {
		for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name),
			strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", ".")} {
			if !claims(spelled) {
				t.Errorf("%q says nothing of the client", spelled)
			}
		}
	}
	for _, name := range []string{"", "X", "F", "Forwarded-", "X-Real-IPs", "X-Forwarded", "XX-Forwarded-For", "Cookie", "TE", "From", "X-Request-Id"} {
		if claims(name) {
			t.Errorf("%q speaks of the client", name)
		}
	}
}

// TestConnectionFieldsGo: by the shortest way and by the long one.
func TestConnectionFieldsGo(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"A: 1|Connection: keep-alive|B: 2", "A: 1|B: 2"},
		{"connection: close|A: 1", "A: 1"},
		{"A: 1|Connection: x, a|X: 2", ""},
		{"A: 1|Connection: close|Connection: b|B: 2", "A: 1"},
		{"A: 1|TE: trailers", "A: 1|TE: trailers"},
		{"TE: gzip|A: 1", "A: 1"},
		{"TE: gzip, trailers|Connection: TE|A: 1", "A: 1|TE: trailers"},
		{"Upgrade: h2c|Connection: Upgrade, HTTP2-Settings|HTTP2-Settings: x|A: 1", "A: 1"},
		{"X-Forwarded-For: a|Connection: X-Forwarded-For, x_forwarded_for", "X-Forwarded-For: a"},
		{"Keep-Alive: 5|Proxy-Connection: x|Transfer-Encoding: y|A: 1", "A: 1"},
		{"Connection: ,, ,|A: 1", "A: 1"},
		{"A: 1", "A: 1"},
	} {
		var h exchange.Fields
		for line := range strings.SplitSeq(c.in, "|") {
			name, value, _ := strings.Cut(line, ": ")
			h.Add(name, value)
		}
		dropConnection(&h, true)
		var left []string
		for name, value := range h.All() {
			left = append(left, name+": "+value)
		}
		if got := strings.Join(left, "|"); got != c.want {
			t.Errorf("%s\nleaves %q, want %q", c.in, got, c.want)
		}
	}
}
