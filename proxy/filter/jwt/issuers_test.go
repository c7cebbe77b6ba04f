package jwt

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

const (
	staff     = "https://staff.test"
	customers = "https://customers.test"
	legacy    = "legacy"
)

func several(t testing.TB) Config {
	t.Helper()
	k := ring()
	return Config{
		Audiences: []string{audience},
		Issuers: []Issuer{
			{Iss: []string{staff}, Keys: []Key{{PublicKey: publicPEM(t, k.rsa), KID: "one"}}, Identity: Mapping{Roles: "groups"}},
			{Iss: []string{customers}, Keys: []Key{{PublicKey: publicPEM(t, k.ec["ES256"]), KID: "one"}}, Audiences: []string{"shop"}, RequiredClaims: map[string][]string{"tier": {"gold"}}},
			{Iss: []string{legacy}, Keys: []Key{{Secret: secret}}},
		},
	}
}

func severalFilter(t testing.TB, c Config) *Filter {
	t.Helper()
	lease := store.NewSet().Lease()
	t.Cleanup(lease.Release)
	f, err := Kind().Build(&c, &filter.Env{Store: lease})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter)
}

func TestEachIssuersTokensAreJudgedByItsOwnKeysAndRules(t *testing.T) {
	k := ring()
	f := severalFilter(t, several(t))
	ec := k.ec["ES256"]
	for _, c := range []struct {
		name, token, want string
	}{
		{"staff", sign(t, "RS256", k.rsa, "one", good(claims{"iss": staff})), ""},
		{"customers", sign(t, "ES256", ec, "one", good(claims{"iss": customers, "aud": "shop", "tier": "gold"})), ""},
		{"legacy", sign(t, "HS256", []byte(secret), "", good(claims{"iss": legacy})), ""},
		{"customers, the audience of the others", sign(t, "ES256", ec, "one", good(claims{"iss": customers, "tier": "gold"})), "bad-token"},
		{"customers, tier", sign(t, "ES256", ec, "one", good(claims{"iss": customers, "aud": "shop"})), "claim-refused"},
		{"staff's name, customers' key", sign(t, "ES256", ec, "one", good(claims{"iss": staff})), "bad-token"},
		{"customers' name, staff's key", sign(t, "RS256", k.rsa, "one", good(claims{"iss": customers, "aud": "shop", "tier": "gold"})), "bad-token"},
		{"staff's name, the secret", sign(t, "HS256", []byte(secret), "", good(claims{"iss": staff})), "bad-token"},
		{"the secret's name, staff's key", sign(t, "RS256", k.rsa, "one", good(claims{"iss": legacy})), "bad-token"},
		{"the secret's name, signed with staff's public key", sign(t, "HS256", []byte(publicPEM(t, k.rsa)), "", good(claims{"iss": legacy})), "bad-token"},
		{"staff's name, signed with its public key", sign(t, "HS256", []byte(publicPEM(t, k.rsa)), "one", good(claims{"iss": staff})), "bad-token"},
		{"unknown issuer", sign(t, "RS256", k.rsa, "one", good(claims{"iss": "https://evil.test"})), "bad-token"},
		{"issuer in another case", sign(t, "RS256", k.rsa, "one", good(claims{"iss": strings.ToUpper(staff)})), "bad-token"},
		{"no issuer", sign(t, "RS256", k.rsa, "one", good(claims{"iss": nil})), "bad-token"},
		{"two issuers", sign(t, "RS256", k.rsa, "one", good(claims{"iss": []string{staff, customers}})), "bad-token"},
		{"the word any", sign(t, "RS256", k.rsa, "one", good(claims{"iss": "any"})), "bad-token"},
	} {
		if got := ask(f, c.token); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	x := request(sign(t, "RS256", k.rsa, "one", good(claims{"iss": staff, "groups": []string{"it"}, "roles": []string{"no"}})))
	if f.OnRequest(x); x.Identity == nil || x.Identity.Issuer != staff || len(x.Identity.Roles) != 1 || x.Identity.Roles[0] != "it" {
		t.Errorf("%+v", x.Identity)
	}
	if s := f.Explain(); !strings.Contains(s, "issuer "+staff+"; audience api") || !strings.Contains(s, "issuer "+customers+"; audience shop") || strings.Contains(s, secret) {
		t.Error(s)
	}
}

// With several issuers there are more keys to be confused: what the attack
// table holds for one issuer is asked of each.
func TestAttacksBetweenIssuers(t *testing.T) {
	k := ring()
	f := severalFilter(t, several(t))
	elsewhere := newIssuer(t, jwks(t, toJWK(t, k.other.Public(), map[string]any{"kid": "one"})))
	evilJWK, _ := json.Marshal(toJWK(t, k.other.Public(), nil))
	for _, iss := range []string{staff, customers, legacy} {
		body, _ := json.Marshal(good(claims{"iss": iss, "aud": []string{audience, "shop"}, "tier": "gold"}))
		text := string(body)
		evil := func(header string) string { return forge(t, "ES256", k.other, header, text) }
		for name, token := range map[string]string{
			"alg none":              b64(`{"alg":"none"}`) + "." + b64(text) + ".",
			"another's key":         evil(`{"alg":"ES256","kid":"one"}`),
			"kid a path":            evil(`{"alg":"ES256","kid":"../../../../dev/null"}`),
			"jku":                   evil(`{"alg":"ES256","kid":"one","jku":"` + elsewhere.URL + `"}`),
			"x5u":                   evil(`{"alg":"ES256","kid":"one","x5u":"` + elsewhere.URL + `"}`),
			"x5c":                   evil(`{"alg":"ES256","x5c":["AAAA"]}`),
			"jwk":                   evil(`{"alg":"ES256","jwk":` + string(evilJWK) + `}`),
			"iss of the header":     evil(`{"alg":"ES256","iss":"` + legacy + `"}`),
			"HS256 with an RSA PEM": forge(t, "HS256", []byte(publicPEM(t, k.rsa)), `{"alg":"HS256","kid":"one"}`, text),
			"HS256 with a modulus":  forge(t, "HS256", []byte(toJWK(t, k.rsa.Public().(*rsa.PublicKey), nil)["n"].(string)), `{"alg":"HS256"}`, text),
			"issuer twice":          forge(t, "HS256", []byte(secret), `{"alg":"HS256"}`, `{"iss":"`+legacy+`",`+text[1:]),
			"huge":                  evil(`{"alg":"ES256","x":"` + strings.Repeat("x", 10000) + `"}`),
		} {
			if got := ask(f, token); got != "bad-token" {
				t.Errorf("%s, %s: %q, want bad-token", iss, name, got)
			}
		}
	}
	if n := elsewhere.fetches.Load(); n != 0 {
		t.Errorf("an address from a token was fetched %d times", n)
	}
}

func TestBadIssuersAreNamed(t *testing.T) {
	key := []Key{{Secret: secret}}
	one := Issuer{Iss: []string{"x"}, Keys: key}
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{Config{Iss: []string{"x"}, Issuers: []Issuer{one}}, "iss", "one of the two"},
		{Config{Keys: key, Issuers: []Issuer{one}}, "keys", "they belong to"},
		{Config{Algorithms: []string{"HS256"}, Issuers: []Issuer{one}}, "algorithms", "with an issuer"},
		{Config{Identity: Mapping{Roles: "groups"}, Issuers: []Issuer{one}}, "identity", "with an issuer"},
		{Config{Issuers: []Issuer{one, one}}, "issuers[1].iss", "named twice"},
		{Config{Issuers: []Issuer{one, {Iss: []string{"any"}, Keys: key}}}, "issuers[1].iss", "any"},
		{Config{Issuers: []Issuer{{Iss: []string{"x"}}}}, "issuers[0].keys", "at least one"},
		{Config{Issuers: []Issuer{one, {Iss: []string{"y"}, Keys: []Key{{Secret: "short"}}}}}, "issuers[1].keys[0].secret", "at least 32"},
		{Config{Issuers: []Issuer{{Iss: []string{"y"}, Keys: key, Algorithms: []string{"RS256"}}}}, "issuers[0].keys[0]", "can be used with"},
	} {
		lease := store.NewSet().Lease()
		_, err := Kind().Build(&c.cfg, &filter.Env{Store: lease})
		lease.Release()
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("got %v\nwant %s: …%s…", err, c.path, c.msg)
		}
	}
}
