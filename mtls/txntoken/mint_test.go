package txntoken

import (
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

func TestWhatIsMintedVerifies(t *testing.T) {
	c := newClock()
	root := newCA(t, "root")
	inter := root.sub("intermediate")
	for alg, key := range keyKinds(t) {
		t.Run(alg, func(t *testing.T) {
			svid := inter.issue(ingressID, key)
			svid.Certificates = append(svid.Certificates, inter.cert, root.cert) // the root must be left out
			m := newTestMinter(t, svid, c, MinterConfig{})
			v := newTestVerifier(t, root.bundle("prod"), c)
			if !strings.Contains(headerOf(t, mustMint(t, m, MintRequest{Subject: "a"}).Token), `"alg":"`+alg+`"`) {
				t.Errorf("expected alg %s", alg)
			}
			for range 20 {
				r := randomRequest()
				minted := mustMint(t, m, r)
				got, err := v.Verify(minted.Token)
				if err != nil {
					t.Fatalf("%+v: %v", r, err)
				}
				if !reflect.DeepEqual(got, minted) {
					t.Fatalf("verified %+v\nminted   %+v", got, minted)
				}
				id := Identity(got)
				if id.Method != "txn" || id.Subject != r.Subject || id.Issuer != r.Issuer || len(id.Roles) != len(r.Roles) ||
					strings.Join(id.Roles, " ") != strings.Join(r.Roles, " ") || strings.Join(id.Scope, " ") != r.Scope {
					t.Fatalf("identity %+v of %+v", id, r)
				}
			}
		})
	}
}

func TestSelfTokenSpeaksForItsSigner(t *testing.T) {
	c := newClock()
	root := newCA(t, "root")
	m := newTestMinter(t, root.issue(ordersID, nil), c, MinterConfig{})
	got, err := newTestVerifier(t, root.bundle("prod"), c).Verify(mustMint(t, m, MintRequest{Self: true, Subject: "ignored"}).Token)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Self || got.Subject != ordersID || got.Minter != ordersID || got.ReqWL != ordersID {
		t.Errorf("got %+v", got)
	}
	if id := Identity(got); id.Roles != nil || id.Scope != nil || id.Issuer != "" {
		t.Errorf("a workload has no roles: %+v", id)
	}
}

func TestMintRefuses(t *testing.T) {
	root := newCA(t, "root")
	m := newTestMinter(t, root.issue(ingressID, nil), newClock(), MinterConfig{})
	deep := map[string]any{}
	for range maxDepth + 1 {
		deep = map[string]any{"x": deep}
	}
	for name, r := range map[string]MintRequest{
		"no subject":              {},
		"header splitting":        {Subject: "a\r\nX: y"},
		"invalid utf-8":           {Subject: "a\xff"},
		"a workload as user":      {Subject: ordersID},
		"itself as user":          {Subject: ingressID},
		"a disguised workload":    {Subject: "SPIFFE://PROD/ns/shop/orders"},
		"roles through tctx":      {Subject: "a", Context: map[string]any{"roles": []string{"admin"}}},
		"issuer through tctx":     {Subject: "a", Context: map[string]any{"sub_iss": "x"}},
		"empty role":              {Subject: "a", Roles: []string{""}},
		"role with control char":  {Subject: "a", Roles: []string{"a\n"}},
		"self with scope":         {Self: true, Scope: "x"},
		"self with roles":         {Self: true, Roles: []string{"x"}},
		"long id":                 {Subject: "a", ID: strings.Repeat("x", maxID+1)},
		"too large":               {Subject: "a", Context: map[string]any{"x": strings.Repeat("x", MaxTxnBytes)}},
		"too deep":                {Subject: "a", Context: deep},
		"not JSON":                {Subject: "a", Rctx: map[string]any{"x": func() {}}},
		"expired user credential": {Subject: "a", Expires: time.Now().Add(-time.Second)},
	} {
		if got, err := m.Mint(r); err == nil {
			t.Errorf("%s: minted %+v", name, got)
		}
	}
}

func TestExpiryIsNeverPastLeafOrUser(t *testing.T) {
	c := newClock()
	root := newCA(t, "root")
	short := root.issue(ingressID, nil, func(x *x509.Certificate) { x.NotAfter = c.now().Add(8 * time.Second) })
	m := newTestMinter(t, short, c, MinterConfig{})
	if got := mustMint(t, m, MintRequest{Subject: "a"}); got.Expires.After(short.Certificates[0].NotAfter.Add(-time.Second)) {
		t.Errorf("token until %s, leaf until %s", got.Expires, short.Certificates[0].NotAfter)
	}
	user := c.now().Add(4 * time.Second)
	if got := mustMint(t, m, MintRequest{Subject: "a", Expires: user}); got.Expires.After(user) {
		t.Errorf("token until %s, user until %s", got.Expires, user)
	}
	if _, err := m.Mint(MintRequest{Subject: "a", Expires: c.now().Add(-time.Minute)}); !errors.Is(err, ErrExpired) {
		t.Errorf("expired user: %v", err)
	}
	c.add(9 * time.Second)
	if _, err := m.Mint(MintRequest{Subject: "a"}); !errors.Is(err, ErrIdentity) {
		t.Errorf("expired leaf: %v", err)
	}
}

func TestRotationChangesTheSigner(t *testing.T) {
	c := newClock()
	root := newCA(t, "root")
	src := &rotating{s: root.issue(ingressID, nil)}
	m := newTestMinter(t, src, c, MinterConfig{Lifetime: time.Minute, Reuse: 30 * time.Second})
	v := newTestVerifier(t, root.bundle("prod"), c)
	a := mustMint(t, m, MintRequest{Subject: "a"})
	src.s = root.issue(ingressID, nil)
	b := mustMint(t, m, MintRequest{Subject: "a"})
	if headerOf(t, a.Token) == headerOf(t, b.Token) {
		t.Error("the old leaf still signs")
	}
	for _, tok := range []string{a.Token, b.Token} {
		if _, err := v.Verify(tok); err != nil {
			t.Error(err)
		}
	}
	src.s = root.issue(ingressID, nil)
	src.s.PrivateKey = newKey(t)
	if _, err := m.Mint(MintRequest{Subject: "a"}); !errors.Is(err, ErrIdentity) {
		t.Errorf("a key that is not the certificate's: %v", err)
	}
}

type rotating struct{ s *x509svid.SVID }

func (r *rotating) GetX509SVID() (*x509svid.SVID, error) { return r.s, nil }

func TestReuseSharesOnlyWhatIsTheSame(t *testing.T) {
	c := newClock()
	m := newTestMinter(t, newCA(t, "root").issue(ingressID, nil), c, MinterConfig{Reuse: 5 * time.Second, ReuseSize: 3})
	base := MintRequest{Subject: "a", Scope: "s", Roles: []string{"r"}, Context: map[string]any{"k": 1}}
	first := mustMint(t, m, base)
	if again := mustMint(t, m, base); again.Token != first.Token || again == first {
		t.Error("expected the same token in another struct")
	}
	for name, edit := range map[string]func(*MintRequest){
		"subject": func(r *MintRequest) { r.Subject = "b" },
		"scope":   func(r *MintRequest) { r.Scope = "" },
		"roles":   func(r *MintRequest) { r.Roles = nil },
		"tctx":    func(r *MintRequest) { r.Context = map[string]any{"k": 2} },
		"rctx":    func(r *MintRequest) { r.Rctx = map[string]any{"k": 2} },
		"expiry":  func(r *MintRequest) { r.Expires = c.now().Add(time.Hour) },
		"id":      func(r *MintRequest) { r.ID = "mine" },
	} {
		r := base
		edit(&r)
		if mustMint(t, m, r).Token == first.Token {
			t.Errorf("another %s got the same token", name)
		}
	}
	if n := len(m.reuse.byKey); n > 3 {
		t.Errorf("%d tokens kept, bound is 3", n)
	}
	fresh := mustMint(t, m, base)
	c.add(5 * time.Second)
	if mustMint(t, m, base).Token == fresh.Token {
		t.Error("reused past the window")
	}
}

func TestOversizeIsReportedOncePerSubject(t *testing.T) {
	c := newClock()
	told := map[string]int{}
	m := newTestMinter(t, newCA(t, "root").issue(ingressID, nil), c, MinterConfig{Oversize: func(s string, n int) {
		if n <= WarnTxnBytes {
			t.Errorf("%d bytes reported", n)
		}
		told[s]++
	}})
	big := map[string]any{"x": strings.Repeat("x", WarnTxnBytes)}
	for range 3 {
		mustMint(t, m, MintRequest{Subject: "a", Context: big})
		mustMint(t, m, MintRequest{Subject: "b", Context: big})
		mustMint(t, m, MintRequest{Subject: "c"})
	}
	if told["a"] != 1 || told["b"] != 1 || told["c"] != 0 {
		t.Errorf("told %v", told)
	}
}

func TestConfigIsValidated(t *testing.T) {
	root := newCA(t, "root")
	for name, cfg := range map[string]VerifierConfig{
		"no audience":      {},
		"star in the path": {Audience: "prod", UserMinters: []string{"spiffe://prod/*/x"}},
		"no spiffe id":     {Audience: "prod", UserMinters: []string{"ingress"}},
		"only a domain":    {Audience: "prod", SelfMinters: []string{"spiffe://prod"}},
		"bare star":        {Audience: "prod", SelfMinters: []string{"*"}},
		"foreign domain":   {Audience: "prod", UserMinters: []string{"spiffe://other/x"}},
		"long leeway":      {Audience: "prod", Leeway: time.Hour},
	} {
		if _, err := NewVerifier(root.bundle("prod"), cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, cfg := range map[string]MinterConfig{
		"long life": {Lifetime: time.Hour}, "short life": {Lifetime: time.Millisecond},
		"reuse past life": {Lifetime: 10 * time.Second, Reuse: 10 * time.Second},
	} {
		if _, err := NewMinter(root.issue(ingressID, nil), cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPatternsMatchWholeSegments(t *testing.T) {
	p, err := ParsePatterns([]string{"spiffe://prod/ingress", "spiffe://prod/ns/shop/*", "spiffe://lab/*"})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{
		"spiffe://prod/ingress": true, "spiffe://prod/ingress2": false, "spiffe://prod/ingress/x": false,
		"spiffe://prod/ns/shop/a": true, "spiffe://prod/ns/shop/a/b": true, "spiffe://prod/ns/shop": false,
		"spiffe://prod/ns/shop/": false, "spiffe://prod/ns/shopping/a": false, "spiffe://lab/x": true,
		"spiffe://lab": false, "spiffe://lab2/x": false, "": false,
	} {
		if p.Match(id) != want {
			t.Errorf("Match(%q) is %v", id, !want)
		}
	}
	if (Patterns{}).Match(ingressID) {
		t.Error("no patterns must match nothing")
	}
}

func mustMint(t testing.TB, m *Minter, r MintRequest) *txn {
	t.Helper()
	got, err := m.Mint(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func headerOf(t testing.TB, token string) string {
	t.Helper()
	h, _, _ := strings.Cut(token, ".")
	b, err := b64.DecodeString(h)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func randomRequest() MintRequest {
	word := func() string {
		const abc = "abcdefgäöü\"\\<>&/世界🙂 "
		r := []rune(abc)
		s := "x"
		for range rand.IntN(12) {
			s += string(r[rand.IntN(len(r))])
		}
		return s
	}
	r := MintRequest{Subject: word()}
	if rand.IntN(2) == 0 {
		r.Scope = "read write"
	}
	for range rand.IntN(4) {
		r.Roles = append(r.Roles, word())
	}
	if rand.IntN(2) == 0 {
		r.Issuer = "https://" + word()
	}
	if rand.IntN(2) == 0 {
		r.Context = map[string]any{word(): rand.Float64(), word(): []any{word(), nil, true}, "deep": map[string]any{word(): int64(rand.IntN(99))}}
	}
	if rand.IntN(2) == 0 {
		r.Rctx = map[string]any{"req_ip": "192.0.2.1", "authn": word()}
	}
	if rand.IntN(2) == 0 {
		r.ID = NewID()
	}
	return r
}
