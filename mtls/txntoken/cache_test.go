package txntoken

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// counting counts how often the bundle is asked for.
type counting struct {
	x509bundle.Source
	mu  sync.Mutex
	n   int
	err error
}

func (c *counting) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if c.err != nil {
		return nil, c.err
	}
	return c.Source.GetX509BundleForTrustDomain(td)
}

func TestRemovedRootTakesEffectWithinASecond(t *testing.T) {
	c := newClock()
	old, next := newCA(t, "old"), newCA(t, "new")
	b := old.bundle("prod")
	b.AddX509Authority(next.cert)
	v := newTestVerifier(t, b, c)
	tok := mustMint(t, newTestMinter(t, old.issue(ingressID, nil), c, MinterConfig{}), MintRequest{Subject: "a"}).Token
	if _, err := v.Verify(tok); err != nil {
		t.Fatal(err)
	}
	b.RemoveX509Authority(old.cert)
	c.add(bundleCheck)
	if _, err := v.Verify(tok); !errors.Is(err, ErrInvalid) {
		t.Errorf("the cached token outlived its root: %v", err)
	}
	other := mustMint(t, newTestMinter(t, old.issue(ingressID, nil), c, MinterConfig{}), MintRequest{Subject: "a"}).Token
	if _, err := v.Verify(other); err == nil {
		t.Error("a new token of the removed root verified")
	}
	b.AddX509Authority(old.cert)
	c.add(bundleCheck)
	if _, err := v.Verify(tok); err != nil {
		t.Errorf("the root is back: %v", err)
	}
}

// TestOnlyWhatVerifiedIsRecalled: and not once its root is gone or it has expired.
func TestOnlyWhatVerifiedIsRecalled(t *testing.T) {
	c := newClock()
	ca := newCA(t, "root")
	b := ca.bundle("prod")
	v := newTestVerifier(t, b, c)
	m := newTestMinter(t, ca.issue(ingressID, nil), c, MinterConfig{})
	minted := mustMint(t, m, MintRequest{Subject: "a"})
	var got txn
	if v.Recall(minted.Token, &got) {
		t.Fatal("a token was recalled that nobody has verified")
	}
	if _, err := v.Verify(minted.Token); err != nil {
		t.Fatal(err)
	}
	if !v.Recall(minted.Token, &got) || got.Subject != "a" || got.Hash != sha256.Sum256([]byte(minted.Token)) || got.Hash != minted.Hash {
		t.Errorf("recalled %+v, minted with hash %x", got, minted.Hash)
	}
	for what, token := range map[string]string{"longer": minted.Token + "A", "shorter": minted.Token[:len(minted.Token)-1], "none": ""} {
		if v.Recall(token, &got) {
			t.Errorf("a %s token was recalled", what)
		}
	}
	b.RemoveX509Authority(ca.cert)
	b.AddX509Authority(newCA(t, "other").cert)
	c.add(bundleCheck)
	if v.Recall(minted.Token, &got) {
		t.Error("a token was recalled whose root is gone")
	}
}

func TestWithoutABundleNothingVerifies(t *testing.T) {
	c := newClock()
	root := newCA(t, "root")
	src := &counting{Source: root.bundle("prod")}
	v := newTestVerifier(t, src, c)
	tok := mustMint(t, newTestMinter(t, root.issue(ingressID, nil), c, MinterConfig{}), MintRequest{Subject: "a"}).Token
	if _, err := v.Verify(tok); err != nil {
		t.Fatal(err)
	}
	src.err = errors.New("gone")
	c.add(bundleCheck)
	if _, err := v.Verify(tok); !errors.Is(err, ErrIdentity) {
		t.Errorf("got %v", err)
	}
	if _, err := v.JWKS(); !errors.Is(err, ErrIdentity) {
		t.Errorf("JWKS: %v", err)
	}
	empty := newTestVerifier(t, x509bundle.New(spiffeid.RequireTrustDomainFromString("prod")), c)
	if _, err := empty.Verify(tok); !errors.Is(err, ErrIdentity) {
		t.Errorf("empty bundle: %v", err)
	}
}

func TestExpiryEvicts(t *testing.T) {
	c := newClock()
	root := newCA(t, "root")
	v := newTestVerifier(t, root.bundle("prod"), c)
	m := newTestMinter(t, root.issue(ingressID, nil), c, MinterConfig{})
	tok := mustMint(t, m, MintRequest{Subject: "a"}).Token
	if _, err := v.Verify(tok); err != nil || v.tokens.len() != 1 {
		t.Fatalf("%v, %d cached", err, v.tokens.len())
	}
	c.add(19 * time.Second) // 15 s of life, 5 s leeway
	if _, err := v.Verify(tok); err != nil {
		t.Errorf("within the leeway: %v", err)
	}
	c.add(2 * time.Second)
	if _, err := v.Verify(tok); !errors.Is(err, ErrExpired) {
		t.Errorf("got %v", err)
	}
	if n := v.tokens.len(); n != 0 {
		t.Errorf("%d expired tokens cached", n)
	}
}

func TestTheLeafsEndEndsCachedTokens(t *testing.T) {
	c := newClock()
	root := newCA(t, "root")
	end := c.now().Add(8 * time.Second).Truncate(time.Second)
	svid := root.issue(ingressID, nil, func(x *x509.Certificate) { x.NotAfter = end })
	v := newTestVerifier(t, root.bundle("prod"), c)
	tok := mustMint(t, newTestMinter(t, svid, c, MinterConfig{}), MintRequest{Subject: "a"}).Token
	if _, err := v.Verify(tok); err != nil {
		t.Fatal(err)
	}
	c.add(end.Sub(c.now()) + time.Millisecond) // within the token's leeway, past the leaf
	if _, err := v.Verify(tok); err == nil {
		t.Error("a token outlived its signer's certificate")
	}
}

func TestCachesAreBounded(t *testing.T) {
	c := newClock()
	root := newCA(t, "root")
	m := newTestMinter(t, root.issue(ingressID, nil), c, MinterConfig{})
	for name, cfg := range map[string]VerifierConfig{
		"in number": {CacheSize: 32}, "in bytes": {CacheSize: 1 << 20, CacheBytes: 16 * 4000},
	} {
		cfg.Audience, cfg.UserMinters = "prod", []string{ingressID}
		v, err := NewVerifier(root.bundle("prod"), cfg)
		if err != nil {
			t.Fatal(err)
		}
		v.now = c.now
		for range 300 {
			if _, err := v.Verify(mustMint(t, m, MintRequest{Subject: "a"}).Token); err != nil {
				t.Fatal(err)
			}
		}
		if n := v.tokens.len(); n == 0 || n > 48 {
			t.Errorf("bounded %s: %d cached", name, n)
		}
	}
	var l leaves
	l.m = map[string]*signer{}
	for i := range 2 * maxLeaves {
		l.put(strings.Repeat("x", i), &signer{until: c.now().Add(time.Hour)}, c.now())
	}
	if len(l.m) > maxLeaves {
		t.Errorf("%d leaves", len(l.m))
	}
}

func TestWhatVerifyReturnsIsTheCallers(t *testing.T) {
	c := newClock()
	root := newCA(t, "root")
	v := newTestVerifier(t, root.bundle("prod"), c)
	tok := mustMint(t, newTestMinter(t, root.issue(ingressID, nil), c, MinterConfig{}), MintRequest{Subject: "a"}).Token
	buf := []byte(tok)
	a, err := v.Verify(string(buf))
	if err != nil {
		t.Fatal(err)
	}
	a.Chain, a.Subject = []string{"x"}, "root"
	b, err := v.Verify(tok)
	if err != nil || b.Chain != nil || b.Subject != "a" || b.Token != tok {
		t.Errorf("another exchange's changes show: %+v, %v", b, err)
	}
}

func TestVerifyAndMintConcurrently(t *testing.T) {
	c := newClock()
	root := newCA(t, "root")
	b := root.bundle("prod")
	extra := newCA(t, "extra")
	v := newTestVerifier(t, b, c)
	m := newTestMinter(t, root.issue(ingressID, nil), c, MinterConfig{Lifetime: time.Minute, Reuse: 20 * time.Second})
	mem := NewMemory(64)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 60 {
				minted, err := m.Mint(MintRequest{Subject: string(rune('a' + (g+i)%3))})
				if err != nil {
					t.Error(err)
					return
				}
				got, err := v.Verify(minted.Token)
				if err != nil {
					t.Error(err)
					return
				}
				got.Chain = []string{ingressID}
				id, forget := mem.Remember(got)
				if mem.ByState("lintel="+id) != got || mem.ByToken(got.Token) == nil {
					t.Error("remembered and not found")
				}
				forget()
				if g == 0 {
					c.add(300 * time.Millisecond)
					if i%10 == 0 {
						b.AddX509Authority(extra.cert)
					} else if i%10 == 5 {
						b.RemoveX509Authority(extra.cert)
					}
				}
				if _, err := v.JWKS(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if mem.Len() != 0 || len(mem.byToken) != 0 {
		t.Errorf("%d ids and %d tokens left in the memory", mem.Len(), len(mem.byToken))
	}
}
