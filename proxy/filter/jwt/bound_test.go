package jwt

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

var mine, theirs = &x509.Certificate{Raw: []byte("mine")}, &x509.Certificate{Raw: []byte("theirs")}

func thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func with(x *exchange.Exchange, c *x509.Certificate) *exchange.Exchange {
	if c != nil {
		x.Client.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}
	}
	return x
}

func codeOf(f *Filter, x *exchange.Exchange) string {
	if fault := f.OnRequest(x).Fault(); fault != nil {
		return fault.Code
	}
	return ""
}

func TestABoundTokenComesWithItsCertificateOnly(t *testing.T) {
	bound := claims{"x5t#S256": thumbprint(mine)}
	for _, c := range []struct {
		name, mode string
		cnf        any
		cert       *x509.Certificate
		want       string
	}{
		{"not bound", "", nil, nil, ""},
		{"with its certificate", "", bound, mine, ""},
		{"without one", "", bound, nil, "token-not-proven"},
		{"with another's", "", bound, theirs, "token-not-proven"},
		{"bound to a key (DPoP)", "", claims{"jkt": "x"}, mine, "token-not-proven"},
		{"bound to both", "", claims{"x5t#S256": thumbprint(mine), "jkt": "x"}, mine, "token-not-proven"},
		{"bound to nothing", "", claims{}, mine, "token-not-proven"},
		{"cnf is text", "", thumbprint(mine), mine, "bad-token"},
		{"a hash that is too short", "", claims{"x5t#S256": "AAAA"}, mine, "bad-token"},
		{"padded", "", claims{"x5t#S256": thumbprint(mine) + "="}, mine, "bad-token"},
		{"a number", "", claims{"x5t#S256": 1}, mine, "token-not-proven"},
		{"required, not bound", "require", nil, mine, "token-not-proven"},
		{"required, with its certificate", "require", bound, mine, ""},
		{"not checked", "ignore", bound, theirs, ""},
	} {
		f := newFilter(t, Config{Keys: []Key{{Secret: secret}}, Confirmation: c.mode})
		change := claims{}
		if c.cnf != nil {
			change["cnf"] = c.cnf
		}
		token := hs(t, change)
		for _, time := range []string{"first", "again"} {
			if got := codeOf(f, with(request(token), c.cert)); got != c.want {
				t.Errorf("%s, %s time: %q, want %q", c.name, time, got, c.want)
			}
		}
	}
}

func TestARememberedTokenIsStillBound(t *testing.T) {
	f := newFilter(t, Config{Keys: []Key{{Secret: secret}}})
	token := hs(t, claims{"cnf": claims{"x5t#S256": thumbprint(mine)}})
	for i, c := range []struct {
		cert *x509.Certificate
		want string
	}{{mine, ""}, {theirs, "token-not-proven"}, {nil, "token-not-proven"}, {mine, ""}} {
		if got := codeOf(f, with(request(token), c.cert)); got != c.want {
			t.Errorf("%d: %q, want %q", i, got, c.want)
		}
	}
	if f.cache.len() != 1 {
		t.Error("it was not remembered: nothing was tested")
	}
	x := with(&exchange.Exchange{}, mine)
	value := "Bearer " + token
	if n := testing.AllocsPerRun(100, func() {
		x.Request.Header.Reset()
		x.Request.Header.Add("Authorization", value)
		f.OnRequest(x)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestTokensInOtherPlaces(t *testing.T) {
	token := hs(t, nil)
	cfg := Config{Keys: []Key{{Secret: secret}}, Cookie: "session", Query: "access_token"}
	request := func(query string, lines ...string) *exchange.Exchange {
		x := &exchange.Exchange{}
		x.Request.Query, x.Original.Query = query, query
		for _, l := range lines {
			name, value, _ := strings.Cut(l, ": ")
			x.Request.Header.Add(name, value)
		}
		return x
	}
	for _, c := range []struct {
		name string
		x    *exchange.Exchange
		want string
	}{
		{"cookie", request("a=1", "Cookie: a=1; session="+token), ""},
		{"query", request("a=1&access_token="+token, "Cookie: a=1"), ""},
		{"header", request("a=1", "Authorization: Bearer "+token, "Cookie: a=1"), ""},
		{"cookie and header", request("a=1", "Authorization: Bearer "+token, "Cookie: a=1; session="+token), "many-tokens"},
		{"query and header", request("access_token="+token, "Authorization: Bearer "+token), "many-tokens"},
		{"two cookies", request("a=1", "Cookie: session="+token+"; session="+token), "many-tokens"},
		{"bad in the query", request("access_token=x"), "bad-token"},
	} {
		got := codeOf(newFilter(t, cfg), c.x)
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got == "" && (c.x.Request.Query != "a=1" || c.x.Request.Header.Has("Authorization") || strings.Contains(c.x.Request.Header.Get("Cookie"), "session")) {
			t.Errorf("%s: forwarded ?%s, Cookie %q", c.name, c.x.Request.Query, c.x.Request.Header.Get("Cookie"))
		}
		if strings.Contains(c.x.Original.Query, "access_token") {
			t.Errorf("%s: logs would show ?%s", c.name, c.x.Original.Query)
		}
	}
	plain := Config{Keys: []Key{{Secret: secret}}}
	for name, x := range map[string]*exchange.Exchange{"cookie": request("", "Cookie: session="+token), "query": request("access_token=" + token)} {
		if got := codeOf(newFilter(t, plain), x); got != "no-token" {
			t.Errorf("%s, not asked for: %q, want no-token", name, got)
		}
	}
	only := Config{Keys: []Key{{Secret: secret}}, Header: "off", Cookie: "session"}
	if got := codeOf(newFilter(t, only), request("", "Authorization: Bearer "+token)); got != "no-token" {
		t.Errorf("header off: %q, want no-token", got)
	}
	other := Config{Keys: []Key{{Secret: secret}}, Header: "X-Session", Prefix: "Token"}
	for line, want := range map[string]string{"X-Session: Token " + token: "", "X-Session: " + token: "no-token", "X-Session: Bearer " + token: "no-token"} {
		if got := codeOf(newFilter(t, other), request("", line)); got != want {
			t.Errorf("%.20s: %q, want %q", line, got, want)
		}
	}
}

func TestWithdrawnTokensAreRefusedAsSoonAsTheFileSaysSo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "denied.txt")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# withdrawn\nearly # stolen\n")
	f := newFilter(t, Config{Keys: []Key{{Secret: secret}}, Deny: &Deny{File: file}})
	list := f.denials[0].Denials.(*denyFile)
	_ = list.Close() // the test polls itself
	list.cancel, list.done = func() {}, make(chan struct{})
	close(list.done)
	early, late := hs(t, claims{"jti": "early"}), hs(t, claims{"jti": "late"})
	check := func(when, wantEarly, wantLate string) {
		t.Helper()
		if e, l := ask(f, early), ask(f, late); e != wantEarly || l != wantLate {
			t.Errorf("%s: %q and %q, want %q and %q", when, e, l, wantEarly, wantLate)
		}
	}
	check("at first", "token-denied", "")
	if got := ask(f, hs(t, nil)); got != "bad-token" {
		t.Errorf("without jti: %q: it could never be withdrawn", got)
	}
	if got := ask(f, hs(t, claims{"jti": 7})); got != "bad-token" {
		t.Errorf("jti a number: %q", got)
	}
	write("early\nlate " + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + "\n")
	list.poll()
	check("listed, though remembered", "token-denied", "token-denied")
	write("early\nlate tomorrow\n")
	list.poll()
	check("a line that cannot be read", "token-denied", "token-denied")
	write("") // caught while it is being written, or its disk is full
	list.poll()
	check("an empty file", "token-denied", "token-denied")
	write("# nobody\n")
	list.poll()
	check("a list of nobody", "", "")
	write("early\nlate\n")
	list.poll()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	list.poll()
	check("the file is gone", "token-denied", "token-denied")
	write("late " + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) + "\n")
	list.poll()
	check("taken off, and a line that has ended", "", "")
}

func TestADenyListThatCannotBeReadIsNoConfiguration(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("jti soon\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"/does/not/exist", t.TempDir(), bad} {
		lease := store.NewSet().Lease()
		_, err := Kind().Build(&Config{Iss: []string{"x"}, Keys: []Key{{Secret: secret}}, Deny: &Deny{File: file}}, &filter.Env{Store: lease})
		lease.Release()
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != "deny.file" {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// A fresh goroutine follows the file; the lease's end ends it (goleak).
func TestTheDenyListIsFollowed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "denied.txt")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFilter(t, Config{Keys: []Key{{Secret: secret}}, Deny: &Deny{File: file}})
	token := hs(t, claims{"jti": "a"})
	if got := ask(f, token); got != "" {
		t.Fatal(got)
	}
	if err := os.WriteFile(file, []byte("a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token is denied", func() bool { return ask(f, token) == "token-denied" })
}
