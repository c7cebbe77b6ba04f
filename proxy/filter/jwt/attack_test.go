package jwt

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
)

func TestEveryAlgorithmVerifiesWithItsKeyAndNoOther(t *testing.T) {
	k := ring()
	keys := map[string]struct {
		private any
		cfg     Key
	}{"EdDSA": {k.ed, Key{PublicKey: publicPEM(t, k.ed)}}}
	for _, a := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		keys[a] = struct {
			private any
			cfg     Key
		}{k.rsa, Key{PublicKey: publicPEM(t, k.rsa)}}
	}
	for a, p := range k.ec {
		keys[a] = struct {
			private any
			cfg     Key
		}{p, Key{PublicKey: publicPEM(t, p)}}
	}
	for _, a := range []string{"HS256", "HS384", "HS512"} {
		keys[a] = struct {
			private any
			cfg     Key
		}{[]byte(secret), Key{Secret: secret}}
	}
	for alg, key := range keys {
		f := newFilter(t, Config{Keys: []Key{key.cfg}})
		for other, with := range keys {
			want := "bad-token"
			if other == alg || fmt.Sprint(with.cfg) == fmt.Sprint(key.cfg) {
				want = ""
			}
			if got := ask(f, sign(t, other, with.private, "", good(nil))); got != want {
				t.Errorf("%s key, %s token: %q, want %q", alg, other, got, want)
			}
		}
		only := newFilter(t, Config{Keys: []Key{key.cfg}, Algorithms: []string{alg}})
		for other, with := range keys {
			if got := ask(only, sign(t, other, with.private, "", good(nil))); (got == "") != (other == alg) {
				t.Errorf("algorithms [%s], %s token: %q", alg, other, got)
			}
		}
	}
}

func TestAttacksAreRefused(t *testing.T) {
	k := ring()
	pemText := publicPEM(t, k.rsa)
	issuerSet := newIssuer(t, jwks(t, toJWK(t, k.ec["ES256"].Public(), map[string]any{"kid": "ec", "alg": "ES256"})))
	f := newFilter(t, Config{Keys: []Key{{PublicKey: pemText, KID: "rsa"}, {JWKSURL: issuerSet.URL}},
		JWKS: Fetching{MinRefresh: time.Hour, Refresh: time.Hour}})
	body, _ := json.Marshal(good(nil))
	claimsText := string(body)
	signed := sign(t, "RS256", k.rsa, "rsa", good(nil))
	if got := ask(f, signed); got != "" {
		t.Fatalf("the genuine token: %s", got)
	}
	parts := strings.Split(signed, ".")
	elsewhere := newIssuer(t, jwks(t, toJWK(t, k.other.Public(), map[string]any{"kid": "x"})))
	evil := func(header string) string { return forge(t, "ES256", k.other, header, claimsText) }
	rs := func(header, claims string) string { return forge(t, "RS256", k.rsa, header, claims) }
	der := toJWK(t, k.rsa.Public().(*rsa.PublicKey), nil)
	evilJWK, _ := json.Marshal(toJWK(t, k.other.Public(), nil))

	for name, token := range map[string]string{
		"alg none":                       b64(`{"alg":"none"}`) + "." + parts[1] + ".",
		"alg none with a signature":      b64(`{"alg":"none"}`) + "." + parts[1] + "." + parts[2],
		"alg NONE":                       b64(`{"alg":"NoNe"}`) + "." + parts[1] + "." + parts[2],
		"no signature":                   parts[0] + "." + parts[1] + ".",
		"signature of zeros":             sigOf(signed, make([]byte, 256)),
		"HS256 with the PEM as secret":   forge(t, "HS256", []byte(pemText), `{"alg":"HS256","kid":"rsa"}`, claimsText),
		"HS256 with the modulus":         forge(t, "HS256", []byte(der["n"].(string)), `{"alg":"HS256"}`, claimsText),
		"HS256 with an empty secret":     forge(t, "HS256", []byte{}, `{"alg":"HS256"}`, claimsText),
		"alg swapped after signing":      b64(`{"alg":"PS256","kid":"rsa"}`) + "." + parts[1] + "." + parts[2],
		"unknown alg":                    b64(`{"alg":"XX999"}`) + "." + parts[1] + "." + parts[2],
		"alg a number":                   b64(`{"alg":1}`) + "." + parts[1] + "." + parts[2],
		"alg missing":                    b64(`{}`) + "." + parts[1] + "." + parts[2],
		"ES256 all-zero (psychic)":       b64(`{"alg":"ES256","kid":"ec"}`) + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"another's key":                  evil(`{"alg":"ES256"}`),
		"another's key under our kid":    evil(`{"alg":"ES256","kid":"ec"}`),
		"kid a path":                     evil(`{"alg":"ES256","kid":"../../../../dev/null"}`),
		"kid SQL":                        evil(`{"alg":"ES256","kid":"x' UNION SELECT 'k"}`),
		"kid a number":                   rs(`{"alg":"RS256","kid":1}`, claimsText),
		"kid of a key of another type":   forge(t, "RS256", k.rsa, `{"alg":"RS256","kid":"ec"}`, claimsText),
		"jku":                            evil(`{"alg":"ES256","kid":"x","jku":"` + elsewhere.URL + `"}`),
		"x5u":                            evil(`{"alg":"ES256","x5u":"` + elsewhere.URL + `"}`),
		"jwk in the header":              evil(`{"alg":"ES256","jwk":` + string(evilJWK) + `}`),
		"crit":                           rs(`{"alg":"RS256","kid":"rsa","crit":["exp"],"exp":1}`, claimsText),
		"crit empty":                     rs(`{"alg":"RS256","kid":"rsa","crit":[]}`, claimsText),
		"typ of another kind":            rs(`{"alg":"RS256","kid":"rsa","typ":"logout+jwt"}`, claimsText),
		"Txn-Token as a bearer":          rs(`{"alg":"RS256","kid":"rsa","typ":"txntoken+jwt"}`, claimsText),
		"header member twice":            rs(`{"alg":"none","alg":"RS256","kid":"rsa"}`, claimsText),
		"claim twice":                    rs(`{"alg":"RS256","kid":"rsa"}`, `{"sub":"root",`+claimsText[1:]),
		"claim twice by escape":          rs(`{"alg":"RS256","kid":"rsa"}`, `{"s\u0075b":"root",`+claimsText[1:]),
		"nested claim twice":             rs(`{"alg":"RS256","kid":"rsa"}`, `{"a":[{"b":1,"b":2}],`+claimsText[1:]),
		"claims an array":                rs(`{"alg":"RS256","kid":"rsa"}`, `[]`),
		"claims null":                    rs(`{"alg":"RS256","kid":"rsa"}`, `null`),
		"something after the claims":     rs(`{"alg":"RS256","kid":"rsa"}`, claimsText+"{}"),
		"claims not UTF-8":               rs(`{"alg":"RS256","kid":"rsa"}`, `{"x":"`+"\xff"+`",`+claimsText[1:]),
		"claims nested deep":             rs(`{"alg":"RS256","kid":"rsa"}`, `{"x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`,`+claimsText[1:]),
		"claims changed":                 parts[0] + "." + b64(strings.Replace(claimsText, "ada", "eve", 1)) + "." + parts[2],
		"four parts":                     signed + ".x",
		"five parts, a JWE":              "a.b.c.d.e",
		"two parts":                      parts[0] + "." + parts[1],
		"padding":                        parts[0] + "=." + parts[1] + "." + parts[2],
		"standard base64":                strings.Replace(signed, "_", "/", 1) + "+",
		"stray bits at the end":          strayBits(signed),
		"a line break inside":            parts[0] + "\n." + parts[1] + "." + parts[2],
		"a space inside":                 parts[0] + " ." + parts[1] + "." + parts[2],
		"two tokens in one":              signed + "," + signed,
		"dots alone":                     "..",
		"too long":                       rs(`{"alg":"RS256","kid":"rsa"}`, `{"x":"`+strings.Repeat("x", 9000)+`",`+claimsText[1:]),
		"the key's own kid, JSON number": rs(`{"alg":"RS256","kid":["rsa"]}`, claimsText),
	} {
		if got := ask(f, token); got != "bad-token" {
			t.Errorf("%s: %q, want bad-token", name, got)
		}
	}
	if n := elsewhere.fetches.Load(); n != 0 {
		t.Errorf("an address from a token was fetched %d times", n)
	}
	if n := issuerSet.fetches.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times, want once", n)
	}
	if n := f.cache.len(); n != 1 {
		t.Errorf("%d tokens remembered, want the genuine one alone", n)
	}
}

func sigOf(token string, sig []byte) string {
	return token[:strings.LastIndexByte(token, '.')+1] + base64.RawURLEncoding.EncodeToString(sig)
}

// strayBits sets bits of the last character that carry no data: another
// spelling of the same signature.
func strayBits(token string) string {
	const abc = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return token[:len(token)-1] + string(abc[strings.IndexByte(abc, token[len(token)-1])|1])
}

func TestClaims(t *testing.T) {
	f := newFilter(t, Config{Keys: []Key{{Secret: secret}}, Leeway: 30 * time.Second})
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for _, c := range []struct {
		name   string
		change claims
		want   string
	}{
		{"plain", nil, ""},
		{"audience in a list", claims{"aud": []string{"x", audience}}, ""},
		{"issued in fractions", claims{"iat": float64(now.UnixMilli()) / 1000}, ""},
		{"expired within leeway", claims{"exp": at(-10 * time.Second)}, ""},
		{"expired", claims{"exp": at(-time.Minute)}, "token-expired"},
		{"expired in fractions", claims{"exp": float64(at(-time.Minute)) + 0.5}, "token-expired"},
		{"no exp", claims{"exp": nil}, "bad-token"},
		{"exp a string", claims{"exp": "9999999999"}, "bad-token"},
		{"exp past all sense", claims{"exp": 1e300}, "bad-token"},
		{"exp in milliseconds", claims{"exp": now.UnixMilli()}, "bad-token"},
		{"exp negative", claims{"exp": -1}, "bad-token"},
		{"exp null", claims{"exp": json.RawMessage("null")}, "bad-token"},
		{"not yet, within leeway", claims{"nbf": at(10 * time.Second)}, ""},
		{"not yet", claims{"nbf": at(time.Minute)}, "token-not-yet-valid"},
		{"nbf a list", claims{"nbf": []int{1}}, "bad-token"},
		{"iat a string", claims{"iat": "now"}, "bad-token"},
		{"another issuer", claims{"iss": issuer + "/"}, "bad-token"},
		{"no issuer", claims{"iss": nil}, "bad-token"},
		{"issuer a list", claims{"iss": []string{issuer}}, "bad-token"},
		{"another audience", claims{"aud": "api2"}, "bad-token"},
		{"no audience", claims{"aud": nil}, "bad-token"},
		{"audience an empty list", claims{"aud": []string{}}, "bad-token"},
		{"audience with a number", claims{"aud": []any{audience, 1}}, "bad-token"},
		{"no subject", claims{"sub": nil}, "bad-token"},
		{"subject empty", claims{"sub": ""}, "bad-token"},
		{"subject with a line break", claims{"sub": "ada\r\nX-Admin: 1"}, "bad-token"},
		{"subject an object", claims{"sub": claims{}}, "bad-token"},
	} {
		if got := ask(f, sign(t, "HS256", []byte(secret), "", good(c.change))); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	lax := newFilter(t, Config{Iss: []string{"any"}, Audiences: []string{}, AllowNoExpiry: true, Keys: []Key{{Secret: secret}}})
	if got := ask(lax, sign(t, "HS256", []byte(secret), "", gojwt.MapClaims{"sub": 9007199254740993})); got != "" {
		t.Errorf("lax: %s", got)
	}
}

func TestAnIssuerCannotSignInAnothersName(t *testing.T) {
	k := ring()
	f := newFilter(t, Config{Iss: []string{"https://a", "https://b"}, Keys: []Key{
		{PublicKey: publicPEM(t, k.ec["ES256"]), Iss: []string{"https://a"}},
		{PublicKey: publicPEM(t, k.ed), Iss: []string{"https://b"}},
	}})
	for _, c := range []struct{ alg, iss, want string }{
		{"ES256", "https://a", ""}, {"EdDSA", "https://b", ""}, {"ES256", "https://b", "bad-token"}, {"EdDSA", "https://a", "bad-token"},
	} {
		var key any = k.ed
		if c.alg == "ES256" {
			key = k.ec["ES256"]
		}
		if got := ask(f, sign(t, c.alg, key, "", good(claims{"iss": c.iss}))); got != c.want {
			t.Errorf("%s for %s: %q, want %q", c.alg, c.iss, got, c.want)
		}
	}
}

func TestAKeyIsUsedOnlyWithTheAlgorithmItsSetNames(t *testing.T) {
	k := ring()
	i := newIssuer(t, jwks(t,
		toJWK(t, k.rsa.Public(), map[string]any{"kid": "rsa", "alg": "PS256"}),
		toJWK(t, k.ed.Public(), map[string]any{"kid": "enc", "use": "enc"}),
		toJWK(t, k.other.Public(), map[string]any{"kid": "ops", "key_ops": []string{"encrypt"}}),
		toJWK(t, k.ec["ES256"].Public(), map[string]any{"kid": "wrong", "alg": "RS256"}),
	))
	f := newFilter(t, Config{Keys: []Key{{JWKSURL: i.URL}}, JWKS: Fetching{Refresh: time.Hour, MinRefresh: time.Hour}})
	for _, c := range []struct {
		alg, kid string
		key      any
		want     string
	}{
		{"PS256", "rsa", k.rsa, ""}, {"RS256", "rsa", k.rsa, "bad-token"}, {"PS512", "rsa", k.rsa, "bad-token"},
		{"EdDSA", "enc", k.ed, "bad-token"}, {"ES256", "ops", k.other, "bad-token"}, {"ES256", "wrong", k.ec["ES256"], "bad-token"},
	} {
		if got := ask(f, sign(t, c.alg, c.key, c.kid, good(nil))); got != c.want {
			t.Errorf("%s with key %s: %q, want %q", c.alg, c.kid, got, c.want)
		}
	}
}
