package jwt

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func hs(t testing.TB, change claims) string {
	return sign(t, "HS256", []byte(secret), "", good(change))
}

func TestIdentityIsTakenFromTheClaims(t *testing.T) {
	f := newFilter(t, Config{Keys: []Key{{Secret: secret}}, Identity: Mapping{Roles: "realm_access.roles", Consumer: "azp"},
		RequiredClaims: map[string][]string{"tenant": {"acme", "umbrella"}, "realm_access.roles": {"admin"}, "email": nil},
		Scopes:         []string{"read"}})
	token := hs(t, claims{"realm_access": claims{"roles": []string{"dev", "admin"}}, "scope": "read write", "azp": "mobile",
		"tenant": "acme", "email": "a@b", "n": 9007199254740993})
	x := request(token)
	if fault := f.OnRequest(x).Fault(); fault != nil {
		t.Fatal(fault)
	}
	id := x.Identity
	if id.Method != "jwt" || id.Subject != "ada" || id.Issuer != issuer || !slices.Equal(id.Roles, []string{"dev", "admin"}) ||
		!slices.Equal(id.Scope, []string{"read", "write"}) || id.Expires.IsZero() || id.Claims["n"] != int64(9007199254740993) {
		t.Errorf("identity %+v", id)
	}
	if x.Consumer != "mobile" {
		t.Errorf("consumer %q", x.Consumer)
	}
	again := request(token)
	f.OnRequest(again)
	if again.Identity != id || again.Consumer != "mobile" {
		t.Error("the same token made another identity")
	}
	for name, c := range map[string]struct {
		change claims
		want   string
	}{
		"unknown consumer": {claims{"azp": "stranger"}, ""},
		"scp in a list":    {claims{"scope": nil, "scp": []string{"read"}}, ""},
		"scope missing":    {claims{"scope": "write"}, "insufficient-scope"},
		"scope as a part":  {claims{"scope": "readall"}, "insufficient-scope"},
		"wrong tenant":     {claims{"tenant": "evil"}, "claim-refused"},
		"no tenant":        {claims{"tenant": nil}, "claim-refused"},
		"no email":         {claims{"email": nil}, "claim-refused"},
		"no such role":     {claims{"realm_access": claims{"roles": []string{"dev"}}}, "claim-refused"},
	} {
		all := claims{"realm_access": claims{"roles": []string{"admin"}}, "scope": "read", "tenant": "acme", "email": "a@b"}
		for k, v := range c.change {
			all[k] = v
		}
		x := request(hs(t, all))
		fault := f.OnRequest(x).Fault()
		if c.want == "" && (fault != nil || x.Consumer != "") || c.want != "" && (fault == nil || fault.Code != c.want || fault.Status != 403) {
			t.Errorf("%s: fault %v, consumer %q", name, fault, x.Consumer)
		}
	}
	forged := sign(t, "HS256", []byte(strings.Repeat("x", 32)), "", good(nil))
	if got := ask(f, forged); got != "bad-token" {
		t.Errorf("a forged token without scope: %q, want bad-token, not a word on scopes", got)
	}
}

func TestTheConsumedCredentialIsNotForwarded(t *testing.T) {
	token := hs(t, nil)
	f := newFilter(t, Config{Keys: []Key{{Secret: secret}}})
	x := request(token)
	x.Request.Header.Add("Accept", "*/*")
	f.OnRequest(x)
	if x.Request.Header.Has("Authorization") || x.Request.Header.Len() != 1 {
		t.Error("the token was left on the request")
	}
	f = newFilter(t, Config{Keys: []Key{{Secret: secret}}, Forward: true})
	x = request(token)
	if f.OnRequest(x); !x.Request.Header.Has("Authorization") {
		t.Error("forward: true removed it")
	}
}

func TestWhereTheTokenIsLookedFor(t *testing.T) {
	token := hs(t, nil)
	for _, c := range []struct {
		header, name string
		values       []string
		want         string
	}{
		{"", "Authorization", []string{"Bearer " + token}, ""},
		{"", "authorization", []string{"bEARER  " + token}, ""},
		{"", "Authorization", []string{token}, "no-token"},
		{"", "Authorization", []string{"Basic " + token}, "no-token"},
		{"", "Authorization", []string{"Bearer"}, "bad-token"},
		{"", "Authorization", []string{"Bearer " + token + " x"}, "bad-token"},
		{"", "Authorization", []string{"Bearer " + token, "Bearer " + token}, "many-tokens"},
		{"", "Authorization", []string{"Basic x", "Bearer " + token}, "many-tokens"},
		{"", "Authorization", []string{""}, "no-token"},
		{"", "Cookie", []string{token}, "no-token"},
		{"X-Session", "X-Session", []string{token}, ""},
		{"X-Session", "X-Session", []string{"Bearer " + token}, ""},
		{"X-Session", "Authorization", []string{"Bearer " + token}, "no-token"},
	} {
		f := newFilter(t, Config{Keys: []Key{{Secret: secret}}, Header: c.header})
		x := request("")
		for _, v := range c.values {
			x.Request.Header.Add(c.name, v)
		}
		got := ""
		if fault := f.OnRequest(x).Fault(); fault != nil {
			got = fault.Code
		}
		if got != c.want {
			t.Errorf("%s: %.30q: %q, want %q", c.name, c.values, got, c.want)
		}
	}
}

func TestAnonymousMayPassButABadTokenNever(t *testing.T) {
	f := newFilter(t, Config{Keys: []Key{{Secret: secret}}, Anonymous: "allow", ClaimsToHeaders: map[string]string{"X-Tenant": "tenant"}})
	x := request("")
	x.Request.Header.Add("x_tenant", "spoofed")
	if fault := f.OnRequest(x).Fault(); fault != nil || x.Identity != nil || x.Request.Header.Len() != 0 {
		t.Errorf("fault %v, identity %v, %d lines", fault, x.Identity, x.Request.Header.Len())
	}
	if got := ask(f, "bad"); got != "bad-token" {
		t.Errorf("a bad token: %q", got)
	}
}

func TestClaimsBecomeHeadersAndNothingElseDoes(t *testing.T) {
	f := newFilter(t, Config{Keys: []Key{{Secret: secret}}, ClaimsToHeaders: map[string]string{
		"X-User-Name": "name", "X-Groups": "a.groups", "X-Ok": "ok", "X-N": "n", "X-Obj": "obj", "X-Ns": "https://x.y/z", "X-Gone": "gone"}})
	x := request(hs(t, claims{"name": "Ada\r\nX-Admin: 1\x00 é", "a": claims{"groups": []any{"x", "y,admin", 3, claims{}, "\n"}}, "ok": true,
		"n": 1.5, "obj": claims{}, "https://x.y/z": "v"}))
	for _, n := range []string{"X-User-Name", "x_user_name", "X-GONE", "x.gone", "X-Ok"} {
		x.Request.Header.Add(n, "spoofed")
	}
	if fault := f.OnRequest(x).Fault(); fault != nil {
		t.Fatal(fault)
	}
	var got []string
	for n, v := range x.Request.Header.All() {
		got = append(got, n+"="+v)
	}
	want := []string{"X-Groups=x,3", "X-N=1.5", "X-Ns=v", "X-Ok=true", "X-User-Name=AdaX-Admin: 1 é"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if x.Removed != 5 {
		t.Errorf("%d removed, want 5", x.Removed)
	}
}

func TestChallenges(t *testing.T) {
	f := newFilter(t, Config{Keys: []Key{{Secret: secret}}, Realm: "shop", Scopes: []string{"a", "b"}})
	for name, c := range map[string]struct {
		token  string
		status int
		want   string
	}{
		"none":     {"", 401, `Bearer realm="shop"`},
		"bad":      {"x", 401, `Bearer realm="shop", error="invalid_token", error_description="the token is malformed"`},
		"expired":  {hs(t, claims{"exp": 1}), 401, `Bearer realm="shop", error="invalid_token", error_description="the token has expired"`},
		"no scope": {hs(t, claims{"scope": "a"}), 403, `Bearer realm="shop", error="insufficient_scope", error_description="the token lacks a required scope", scope="a b"`},
	} {
		fault := f.OnRequest(request(c.token)).Fault()
		if fault == nil || fault.Status != c.status || len(fault.Header) != 1 || fault.Header[0].Name != "WWW-Authenticate" || fault.Header[0].Value != c.want {
			t.Errorf("%s: %+v", name, fault)
		}
	}
	x := request("x")
	x.Request.Header.Add("Authorization", "Bearer y")
	if fault := f.OnRequest(x).Fault(); fault.Status != 400 || !strings.Contains(fault.Header[0].Value, `error="invalid_request"`) {
		t.Errorf("two: %+v", fault)
	}
}

func TestKeyFiles(t *testing.T) {
	k := ring()
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	one := toJWK(t, k.ed.Public(), map[string]any{"kid": "ed"})
	for name, file := range map[string]string{
		"pem":  write("a.pem", publicPEM(t, k.rsa)+publicPEM(t, k.ed)),
		"jwks": write("b.json", jwks(t, one, map[string]any{"kty": "new"})),
	} {
		f := newFilter(t, Config{Keys: []Key{{File: file}}})
		if got := ask(f, sign(t, "EdDSA", k.ed, "ed", good(nil))); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	k := ring()
	pub := publicPEM(t, k.ec["ES256"])
	ok := []Key{{Secret: secret}}
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{Config{}, "iss", "any"},
		{Config{Iss: []string{"any", "x"}, Keys: ok}, "iss", "alone"},
		{Config{Iss: []string{"x"}}, "keys", "at least one"},
		{Config{Iss: []string{"x"}, Keys: []Key{{}}}, "keys[0]", "exactly one"},
		{Config{Iss: []string{"x"}, Keys: []Key{{Secret: secret, File: "x"}}}, "keys[0]", "exactly one"},
		{Config{Iss: []string{"x"}, Keys: []Key{{Secret: "short"}}}, "keys[0].secret", "at least 32"},
		{Config{Iss: []string{"x"}, Keys: []Key{{Secret: secret}, {PublicKey: pub}}}, "keys[0].secret", "confusing"},
		{Config{Iss: []string{"x"}, Keys: []Key{{PublicKey: pub}}, Algorithms: []string{"ES256", "HS256"}}, "algorithms[1]", "anyone"},
		{Config{Iss: []string{"x"}, Keys: []Key{{JWKSURL: "https://x/y"}}, Algorithms: []string{"HS256"}}, "algorithms[0]", "anyone"},
		{Config{Iss: []string{"x"}, Keys: ok, Algorithms: []string{"HS256", "RS256"}}, "algorithms[1]", "public"},
		{Config{Iss: []string{"x"}, Keys: ok, Algorithms: []string{"HS256", "none"}}, "algorithms[1]", "not one of"},
		{Config{Iss: []string{"x"}, Keys: []Key{{Secret: secret[:32]}}, Algorithms: []string{"HS512"}}, "keys[0]", "64 bytes"},
		{Config{Iss: []string{"x"}, Keys: []Key{{PublicKey: pub}}, Algorithms: []string{"RS256"}}, "keys[0]", "can be used with"},
		{Config{Iss: []string{"x"}, Keys: []Key{{PublicKey: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}}}, "keys[0].public_key", "private"},
		{Config{Iss: []string{"x"}, Keys: []Key{{PublicKey: "hello"}}}, "keys[0].public_key", "no key found"},
		{Config{Iss: []string{"x"}, Keys: []Key{{PublicKey: `{"kty":"oct","k":"AAAA"}`}}}, "keys[0].public_key", "shared secret"},
		{Config{Iss: []string{"x"}, Keys: []Key{{PublicKey: `{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}`}}}, "keys[0].public_key", "point"},
		{Config{Iss: []string{"x"}, Keys: []Key{{File: "/does/not/exist"}}}, "keys[0].file", "no such file"},
		{Config{Iss: []string{"x"}, Keys: []Key{{JWKSURL: "http://issuer.example/jwks"}}}, "keys[0].jwks_url", "https"},
		{Config{Iss: []string{"x"}, Keys: []Key{{JWKSURL: "ftp://issuer.example/jwks"}}}, "keys[0].jwks_url", "scheme"},
		{Config{Iss: []string{"x"}, Keys: []Key{{JWKSURL: "https://u:p@issuer.example/"}}}, "keys[0].jwks_url", "user name"},
		{Config{Iss: []string{"x", "y"}, Keys: []Key{{PublicKey: pub}, {PublicKey: pub, Iss: []string{"x"}}}}, "keys[0].iss", "another's name"},
		{Config{Iss: []string{"x"}, Keys: []Key{{PublicKey: pub, Iss: []string{"z"}}}}, "keys[0].iss", "not among"},
		{Config{Iss: []string{"x"}, Keys: ok, ClaimsToHeaders: map[string]string{"Txn-Token": "a"}}, "claims_to_headers.Txn-Token", "Lintel itself"},
		{Config{Iss: []string{"x"}, Keys: ok, ClaimsToHeaders: map[string]string{"Bad Name": "a"}}, "claims_to_headers.Bad Name", "no header name"},
		{Config{Iss: []string{"x"}, Keys: ok, ClaimsToHeaders: map[string]string{"authorization": "a"}}, "claims_to_headers", "looked for"},
		{Config{Iss: []string{"x"}, Keys: ok, Realm: `a"b`}, "realm", "quotes"},
		{Config{Iss: []string{"x"}, Keys: ok, Scopes: []string{"a b"}}, "scopes[0]", "one word"},
		{Config{Iss: []string{"x"}, Keys: ok, Leeway: time.Hour}, "leeway", "5m"},
		{Config{Iss: []string{"x"}, Keys: ok, JWKS: Fetching{Timeout: -1}}, "jwks", "positive"},
		{Config{Iss: []string{"x"}, Keys: []Key{{JWKSURL: "https://x/y"}}, JWKS: Fetching{CAFile: "/does/not/exist"}}, "jwks.ca_file", "no such file"},
	} {
		lease := store.NewSet().Lease()
		_, err := Kind().Build(&c.cfg, &filter.Env{Store: lease})
		lease.Release()
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("%+v:\n got %v\nwant %s: …%s…", c.cfg, err, c.path, c.msg)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the secret is in the message: %v", err)
		}
	}
}
