package mtls

import (
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"lintel.dev/lintel/proxy/exchange"
)

// shifting is a Source whose bundles a test changes.
type shifting struct {
	Source
	bundles map[string]*x509bundle.Bundle
}

func (s *shifting) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if b := s.bundles[td.Name()]; b != nil {
		return b, nil
	}
	return s.Source.GetX509BundleForTrustDomain(td)
}

func TestAnOpenConnectionIsTrustedAsLongAsItsRoot(t *testing.T) {
	ours, theirs, other := openCA(t, CAConfig{}), openCA(t, CAConfig{TrustDomain: partner}), openCA(t, CAConfig{})
	bundle := func(ca ...*CA) *x509bundle.Bundle {
		b := x509bundle.New(ca[0].td)
		for _, c := range ca {
			for _, root := range c.view.Load().bundle {
				b.AddX509Authority(root)
			}
		}
		return b
	}
	peer := func(ca *CA, id string) exchange.Peer {
		src := sourceOf(t, ca, id)
		_, _, cs := handshake(t, ServerConfig(src, nil, Options{}), ClientConfig(sourceOf(t, ca, "spiffe://"+ca.TrustDomain()+"/svc/other"), expecting(t, id), Options{}))
		p, err := PeerOf(&cs)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	web, shop, stranger := peer(ours, webID), peer(theirs, shopID), exchange.Peer{ID: "spiffe://third.example/x", TrustDomain: "third.example"}
	src := &shifting{Source: sourceOf(t, ours, ordersID), bundles: map[string]*x509bundle.Bundle{
		DefaultTrustDomain: bundle(ours), partner: bundle(theirs)}}
	trust := must[*Trust](t)(NewTrust(src, []string{partner}))
	now := time.Now()
	ask := func(what string, p exchange.Peer, says string) {
		t.Helper()
		if err := trust.Check(p, now); says != "" {
			wantError(t, err, says)
		} else if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	later := func() { now = now.Add(trustCheck) }

	ask("ours", web, "")
	ask("theirs", shop, "")
	ask("of a trust domain that is not federated", stranger, "not federated")

	src.bundles[DefaultTrustDomain] = bundle(ours, other)
	later()
	ask("ours, while both roots are trusted", web, "")
	ask("ours, asked again", web, "")
	src.bundles[DefaultTrustDomain] = bundle(other)
	ask("ours, within the second", web, "")
	later()
	ask("ours, whose root has gone", web, "is not trusted any more")
	ask("theirs, whom that is nothing to", shop, "")
	src.bundles[DefaultTrustDomain] = bundle(ours)
	later()
	ask("ours, whose root is back", web, "")

	delete(src.bundles, partner)
	later()
	ask("theirs, without a bundle", shop, "no bundle of its trust domain")
	src.bundles[partner] = bundle(theirs)
	later()
	ask("theirs, with it again", shop, "")
	src.bundles[partner].RemoveX509Authority(theirs.view.Load().bundle[0]) // in place
	later()
	ask("theirs, with an empty one", shop, "is not trusted any more")

	// An expired certificate is another matter: streams outlive it.
	now = web.Cert.NotAfter.Add(time.Hour)
	ask("ours, which has expired", web, "")
	if n := testing.AllocsPerRun(100, func() { _ = trust.Check(web, now) }); n > 0 {
		t.Errorf("%v allocations to find a peer again", n)
	}
}
