package combine_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/apikey"
	"lintel.dev/lintel/proxy/filter/clientcert"
	"lintel.dev/lintel/proxy/filter/combine"
	"lintel.dev/lintel/proxy/filter/headers"
	"lintel.dev/lintel/proxy/filter/jwt"
	"lintel.dev/lintel/proxy/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret = "0123456789abcdef0123456789abcdef"
	key    = "key-of-partner-000000000000000000"

	withJWT  = `{jwt: {iss: i, audiences: a, keys: [{secret: "` + secret + `"}], claims_to_headers: {X-Tenant: tenant}}}`
	withKey  = `{api_key: {headers: {X-Consumer: name}}}`
	withCert = `{client_cert: {unknown: allow}}`
)

func build(t testing.TB, text string) (filter.Instance, error) {
	t.Helper()
	s, err := config.Parse("lintel.yaml", []byte("version: 1\npolicies:\n  p:\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	reg, err := filter.NewRegistry(jwt.Kind(), apikey.Kind(), clientcert.Kind(), headers.Kind(), combine.AnyKind(), combine.AllKind(), combine.AnonymousKind())
	if err != nil {
		t.Fatal(err)
	}
	lease := store.NewSet().Lease()
	t.Cleanup(lease.Release)
	f := s.Policies["p"][0]
	return reg.Build(f.Kind, f.Section, &filter.Env{Store: lease, Consumers: []filter.Consumer{
		{Name: "guest"}, {Name: "partner", Keys: []filter.ConsumerKey{{Hash: sha256.Sum256([]byte(key))}}}}})
}

func made(t testing.TB, text string) filter.Instance {
	t.Helper()
	in, err := build(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func token(t testing.TB, expires time.Duration) string {
	t.Helper()
	s, err := gojwt.NewWithClaims(gojwt.SigningMethodHS256, gojwt.MapClaims{"iss": "i", "aud": "a", "sub": "ada",
		"tenant": "acme", "exp": time.Now().Add(expires).Unix()}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// what makes a request of its credentials' names.
func what(t testing.TB, shown string) *exchange.Exchange {
	x := &exchange.Exchange{}
	for _, s := range strings.Fields(shown) {
		switch s {
		case "jwt":
			x.Request.Header.Add("Authorization", "Bearer "+token(t, time.Hour))
		case "expired":
			x.Request.Header.Add("Authorization", "Bearer "+token(t, -time.Hour))
		case "key":
			x.Request.Header.Add("X-API-Key", key)
		case "wrongkey":
			x.Request.Header.Add("X-API-Key", "wrong-key-000000000000000000000000")
		case "cert", "unverified":
			c := &x509.Certificate{Raw: []byte{1}, RawSubject: []byte{0x30, 0}, RawIssuer: []byte{0x30, 0}, NotAfter: time.Now().Add(time.Hour)}
			x.Client.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}
			if s == "cert" {
				x.Client.TLS.VerifiedChains = [][]*x509.Certificate{{c}}
			}
		case "basic":
			x.Request.Header.Add("Authorization", "Basic eDp5")
		}
	}
	return x
}

// who says who passes, or the code of the refusal.
func who(in filter.Instance, x *exchange.Exchange) string {
	if fault := in.Request.OnRequest(x).Fault(); fault != nil {
		return fault.Code
	}
	out := "nobody"
	if x.Identity != nil {
		out = x.Identity.Method
	}
	if x.Consumer != "" {
		out += "/" + x.Consumer
	}
	return out
}

func TestTheFirstWhoseCredentialIsSentDecides(t *testing.T) {
	for name, c := range map[string]struct {
		of   string
		want map[string]string // by what is shown
	}{
		"two": {"    - any_of: [" + withJWT + ", " + withKey + "]", map[string]string{
			"": "no-credential", "basic": "no-credential", "cert": "no-credential",
			"jwt": "jwt", "key": "apikey/partner", "jwt key": "jwt", "jwt wrongkey": "jwt",
			"expired": "token-expired", "expired key": "token-expired", "wrongkey": "bad-api-key", "basic key": "apikey/partner"}},
		"two and guests": {"    - any_of: [" + withJWT + ", " + withKey + ", anonymous: {consumer: guest}]", map[string]string{
			"": "nobody/guest", "basic": "nobody/guest", "jwt": "jwt", "key": "apikey/partner",
			"expired": "token-expired", "wrongkey": "bad-api-key", "expired wrongkey": "token-expired"}},
		"guests without a name": {"    - any_of:\n        - " + withJWT + "\n        - anonymous", map[string]string{"": "nobody", "expired": "token-expired"}},
		"all": {"    - all_of: [" + withCert + ", " + withJWT + "]", map[string]string{
			"": "no-certificate", "jwt": "no-certificate", "cert": "no-token", "cert jwt": "jwt", "unverified jwt": "bad-certificate", "cert expired": "token-expired"}},
		"all within any": {"    - any_of: [{all_of: [" + withCert + ", " + withJWT + "]}, " + withKey + ", {anonymous: {consumer: guest}}]", map[string]string{
			"": "nobody/guest", "cert jwt": "jwt", "key": "apikey/partner", "cert key": "apikey/partner", "jwt key": "apikey/partner",
			// A part of what belongs together never makes a guest.
			"jwt": "no-certificate", "expired": "no-certificate", "cert": "no-token"}},
		"any within all": {"    - all_of: [{any_of: [" + withJWT + ", " + withKey + "]}, " + withCert + "]", map[string]string{
			"": "no-credential", "jwt": "no-certificate", "cert": "no-credential", "cert jwt": "certificate", "cert key": "certificate/partner", "cert wrongkey": "bad-api-key"}},
	} {
		in := made(t, c.of)
		for shown, want := range c.want {
			if got := who(in, what(t, shown)); got != want {
				t.Errorf("%s, shown %q: %s, want %s", name, shown, got, want)
			}
		}
	}
}

func TestNoClientsCopyAndNoUnusedCredentialGetsThrough(t *testing.T) {
	in := made(t, "    - any_of: ["+withJWT+", "+withKey+", anonymous: {consumer: guest}]")
	for _, shown := range []string{"jwt key", "key", ""} {
		x := what(t, shown)
		x.Request.Header.Add("X-Tenant", "spoofed")
		x.Request.Header.Add("x_consumer", "spoofed")
		x.Request.Header.Add("Accept", "x")
		if fault := in.Request.OnRequest(x).Fault(); fault != nil {
			t.Fatal(fault)
		}
		for name, value := range x.Request.Header.All() {
			if value == "spoofed" || name == "Authorization" || name == "X-API-Key" {
				t.Errorf("shown %q: %s: %s is forwarded", shown, name, value)
			}
		}
	}
}

// A service that is handed tokens believes that they were verified.
func TestAnUnverifiedCredentialIsNeverForwarded(t *testing.T) {
	in := made(t, "    - any_of: [{api_key: {forward: true}}, {jwt: {iss: i, forward: true, keys: [{secret: "+secret+"}]}}, anonymous]")
	x := what(t, "key expired")
	if got := who(in, x); got != "apikey/partner" || x.Request.Header.Has("Authorization") || !x.Request.Header.Has("X-API-Key") {
		t.Errorf("%s, Authorization forwarded: %v, key forwarded: %v", got, x.Request.Header.Has("Authorization"), x.Request.Header.Has("X-API-Key"))
	}
	x = what(t, "jwt")
	if got := who(in, x); got != "jwt" || !x.Request.Header.Has("Authorization") {
		t.Errorf("%s, and the verified token was not forwarded", got)
	}
}

func TestTheRefusalNamesEveryWay(t *testing.T) {
	fault := made(t, "    - any_of: ["+withJWT+", "+withKey+", "+withCert+"]").Request.OnRequest(what(t, "")).Fault()
	var challenges []string
	for _, h := range fault.Header {
		challenges = append(challenges, h.Name+": "+h.Value)
	}
	if got := strings.Join(challenges, "; "); fault.Status != 401 || got != `WWW-Authenticate: Bearer realm="api"; WWW-Authenticate: ApiKey realm="api"` {
		t.Errorf("%d %s", fault.Status, got)
	}
	if want := "a bearer token is required; or an API key is required, in header X-API-Key; or a TLS client certificate is required"; fault.Detail != want {
		t.Error(fault.Detail)
	}
	if fault := made(t, "    - any_of: ["+withCert+"]").Request.OnRequest(what(t, "")).Fault(); fault.Status != 403 {
		t.Errorf("without any challenge: %d, want 403", fault.Status)
	}
}

func TestExplainSaysHowTheyCombine(t *testing.T) {
	in := made(t, "    - any_of: [{all_of: ["+withCert+"]}, "+withKey+", anonymous: {consumer: guest}]")
	got := in.Filter.(filter.Explainer).Explain()
	for _, want := range []string{"the first of all_of, api_key that is sent decides; without any: passes as consumer guest. all_of: all of client_cert. client_cert: ", ". api_key: key in header X-API-Key"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

func TestBadConfigIsPlaced(t *testing.T) {
	for text, want := range map[string]string{
		"    - any_of: []":                                                                                     "lintel.yaml:4: any_of: is empty: want a list of authentication filters",
		"    - any_of":                                                                                         "of is missing",
		"    - any_of:\n        - headers":                                                                     "lintel.yaml:5: any_of: [0]: headers does not say who is calling: any_of holds authentication filters",
		"    - any_of:\n        - anonymous":                                                                   "lintel.yaml:5: any_of: [0]: anonymous alone asks for nothing",
		"    - any_of:\n        - anonymous\n        - api_key":                                                "lintel.yaml:5: any_of: [0]: anonymous stands last",
		"    - all_of:\n        - api_key\n        - anonymous":                                                "lintel.yaml:6: all_of: [1]: anonymous cannot stand in all_of",
		"    - all_of:\n        - any_of: [api_key, anonymous]":                                                "lintel.yaml:5: all_of: [0]: an any_of within another filter cannot end in anonymous",
		"    - any_of:\n        - api_key\n        - nope":                                                     `lintel.yaml:6: unknown filter "nope", known are`,
		"    - any_of:\n        - api_key:\n            header: Bad Name":                                      "lintel.yaml:6: api_key: header: \"Bad Name\" is no header name",
		"    - any_of:\n        - api_key:\n            heeder: X":                                             `lintel.yaml:6:13: policies.p[0].any_of[0].api_key: unknown key "heeder"`,
		"    - any_of:\n        - api_key\n        - anonymous: {consumer: nobody}":                            "lintel.yaml:6: anonymous: consumer: \"nobody\" is not under consumers",
		"    - any_of:\n        - " + withJWT + "\n        - " + withJWT:                                       "lintel.yaml:6: any_of: [1]: jwt is never asked: jwt [0] looks in the same place (header Authorization after Bearer)",
		"    - any_of:\n        - " + withJWT + "\n        - api_key: {header: Authorization, prefix: bearer}": "have one of them look elsewhere",
		"    - all_of:\n        - " + withJWT + "\n        - " + withJWT:                                       "lintel.yaml:6: all_of: [1]: jwt never finds a credential, and every request is refused: jwt [0] looks in the same place (header Authorization after Bearer), and takes off what it finds; write one jwt",
		"    - all_of: [api_key, api_key]":                                                                     "api_key [0] looks in the same place (header X-API-Key), and takes off what it finds; have one of them look elsewhere",
		"    - any_of: [1]":                                                                                    "expected a filter, as its name or a map with one key, found a number",
	} {
		_, err := build(t, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

// One that leaves the credential there leaves it to the next.
func TestTwoOfOnePlaceWhereTheFirstForwards(t *testing.T) {
	forwards := strings.Replace(withJWT, "{jwt: {", "{jwt: {forward: true, ", 1)
	in := made(t, "    - all_of: ["+forwards+", "+withJWT+"]\n")
	for shown, want := range map[string]string{"": "no-token", "jwt": "jwt", "expired": "token-expired"} {
		if got := who(in, what(t, shown)); got != want {
			t.Errorf("%s: %s, want %s", shown, got, want)
		}
	}
}

func TestADumpShowsFiltersWithinButNoSecret(t *testing.T) {
	s, err := config.Parse("lintel.yaml", []byte("version: 1\npolicies: {p: [{any_of: ["+withJWT+", "+withKey+"]}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	f := s.Policies["p"][0]
	reg, _ := filter.NewRegistry(jwt.Kind(), apikey.Kind(), combine.AnyKind())
	lease := store.NewSet().Lease()
	t.Cleanup(lease.Release)
	show := func() string {
		b := new(strings.Builder)
		printAny(b, config.Dump(s.Policies))
		if strings.Contains(b.String(), secret) {
			t.Errorf("the secret is shown: %s", b)
		}
		return b.String()
	}
	show() // not decoded yet
	if _, err := reg.Build(f.Kind, f.Section, &filter.Env{Store: lease}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := show(); !strings.Contains(got, "max_size=8KiB") || !strings.Contains(got, "header=X-API-Key") {
			t.Errorf("a filter within lacks its defaults: %s", got)
		}
	}
}

func BenchmarkAnyOf(b *testing.B) {
	in := made(b, "    - any_of: ["+withJWT+", "+withKey+", anonymous: {consumer: guest}]")
	x := &exchange.Exchange{}
	b.ReportAllocs()
	for b.Loop() {
		x.Request.Header.Reset()
		x.Request.Header.Add("X-API-Key", key)
		in.Request.OnRequest(x)
	}
}

func TestChoosingCostsNoAllocation(t *testing.T) {
	in := made(t, "    - any_of: ["+withJWT+", "+withKey+", anonymous: {consumer: guest}]")
	x := &exchange.Exchange{}
	if n := testing.AllocsPerRun(1000, func() {
		x.Request.Header.Reset()
		x.Request.Header.Add("X-API-Key", key)
		in.Request.OnRequest(x)
	}); n != 0 || x.Consumer != "partner" {
		t.Errorf("%v allocations, want 0", n)
	}
}

func printAny(b *strings.Builder, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			b.WriteString(k + "=")
			printAny(b, inner)
		}
	case []any:
		for _, inner := range v {
			printAny(b, inner)
		}
	case string:
		b.WriteString(v + " ")
	}
}
