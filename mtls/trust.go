package mtls

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"lintel.dev/lintel/proxy/exchange"
)

// trustCheck is how long a root that has gone may still be believed.
const trustCheck = time.Second

// Trust asks of peers whose handshake is long over whether it would succeed
// now: a root that has left its bundle, and a trust domain that is federated no
// more, vouch for nobody on the connections that are open either.
type Trust struct {
	src     x509bundle.Source
	domains map[string]*domainState
	known   sync.Map // weak.Pointer[x509.Certificate] → uint64, the state it last verified under
}

// domainState numbers the states of a trust domain's bundle. The first is the
// one that every handshake before a change went by.
type domainState struct {
	td  spiffeid.TrustDomain
	mu  sync.Mutex
	cur atomic.Pointer[bundleSeen]
}

type bundleSeen struct {
	gen uint64
	sum [sha256.Size]byte
	at  time.Time
	err error
}

// NewTrust returns a Trust in src's trust domain and further ones. Make it
// before the first handshake.
func NewTrust(src Source, further []string) (*Trust, error) {
	own, err := ID(src)
	if err != nil {
		return nil, err
	}
	t := &Trust{src: src, domains: map[string]*domainState{}}
	for _, name := range append([]string{own.TrustDomain().Name()}, further...) {
		td, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return nil, fmt.Errorf("mtls: %w", err)
		}
		d := &domainState{td: td}
		d.state(src, time.Now())
		t.domains[name] = d
	}
	return t, nil
}

// Check returns why a peer would not be trusted any more. That its certificate
// has expired meanwhile is for StillValid to say. As long as a bundle has never
// changed it costs next to nothing, and afterwards one look-up; a change costs a
// verification per peer.
func (t *Trust) Check(peer exchange.Peer, now time.Time) error {
	d := t.domains[peer.TrustDomain]
	if d == nil {
		return fmt.Errorf("mtls: peer %s: its trust domain is not federated", clip(peer.ID))
	}
	s := d.state(t.src, now)
	switch {
	case s.err != nil:
		return fmt.Errorf("mtls: peer %s: no bundle of its trust domain: %w", clip(peer.ID), s.err)
	case s.gen == 1:
		return nil
	case peer.Cert == nil || len(peer.Chain) == 0:
		return fmt.Errorf("mtls: peer %s: no peer certificate", clip(peer.ID))
	}
	leaf := weak.Make(peer.Cert)
	last, met := t.known.Load(leaf)
	if met && last == s.gen {
		return nil
	}
	if peer.Cert.NotAfter.Before(now) {
		now = peer.Cert.NotAfter
	}
	if _, _, err := x509svid.Verify(peer.Chain, t.src, x509svid.WithTime(now)); err != nil {
		return fmt.Errorf("mtls: peer %s is not trusted any more: %w", clip(peer.ID), err)
	}
	if t.known.Store(leaf, s.gen); !met {
		runtime.AddCleanup(peer.Cert, func(w weak.Pointer[x509.Certificate]) { t.known.Delete(w) }, leaf)
	}
	return nil
}

// Lost reports whether the other side of a connection that is open would be
// refused now.
func (t *Trust) Lost(cs *tls.ConnectionState, now time.Time) bool {
	if len(cs.PeerCertificates) == 0 || len(cs.PeerCertificates[0].URIs) != 1 {
		return true
	}
	leaf := cs.PeerCertificates[0]
	return t.Check(exchange.Peer{TrustDomain: leaf.URIs[0].Host, Cert: leaf, Chain: cs.PeerCertificates}, now) != nil
}

// state looks at the bundle once in a while. Sources do not tell which bundle
// has changed, and some change one in place, so its roots are hashed.
func (d *domainState) state(src x509bundle.Source, now time.Time) *bundleSeen {
	if s := d.cur.Load(); s != nil && now.Sub(s.at).Abs() < trustCheck {
		return s
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.cur.Load()
	if old != nil && now.Sub(old.at).Abs() < trustCheck {
		return old
	}
	next := &bundleSeen{gen: 1, at: now}
	b, err := src.GetX509BundleForTrustDomain(d.td)
	if err != nil {
		next.err = err // a sum of nothing: when it comes back, all are asked again
	} else {
		next.sum = rootsSum(b)
	}
	if old != nil {
		if next.gen = old.gen; old.sum != next.sum {
			next.gen++
		}
	}
	d.cur.Store(next)
	return next
}

func rootsSum(b *x509bundle.Bundle) [sha256.Size]byte {
	var sums [][]byte
	for _, r := range b.X509Authorities() {
		sum := sha256.Sum256(r.Raw)
		sums = append(sums, sum[:])
	}
	slices.SortFunc(sums, bytes.Compare) // their order means nothing
	return sha256.Sum256(bytes.Join(sums, nil))
}
