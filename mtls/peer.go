package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"lintel.dev/lintel/proxy/exchange"
)

// PeerOf returns the verified other side of a connection whose handshake ran
// with a config of [ServerConfig] or [ClientConfig]: they verified the chain,
// here it is named. The certificate must still be valid now, so a call per
// exchange ends the trust in a peer whose certificate expired while its
// connection stayed open.
func PeerOf(cs *tls.ConnectionState) (exchange.Peer, error) {
	return peerAt(cs, time.Now())
}

func peerAt(cs *tls.ConnectionState, now time.Time) (exchange.Peer, error) {
	switch {
	case cs == nil:
		return exchange.Peer{}, errors.New("mtls: no peer: the connection is plaintext, expected mutual TLS")
	case !cs.HandshakeComplete:
		return exchange.Peer{}, errors.New("mtls: no peer: the TLS handshake is not complete, so nothing has been verified")
	case len(cs.PeerCertificates) == 0:
		return exchange.Peer{}, errNoPeerCert
	}
	peer, err := peerOf(cs.PeerCertificates[0])
	if err == nil {
		err = stillValid(peer, now)
	}
	if err != nil {
		return exchange.Peer{}, fmt.Errorf("mtls: %w", err)
	}
	peer.Chain = cs.PeerCertificates
	return peer, nil
}

var errNoPeerCert = errors.New("mtls: the peer sent no certificate: expected an X.509-SVID; is it a plain TLS client that bypasses its sidecar?")

// StillValid reports whether the peer's certificate is within its validity: it
// is the cheap check for a Peer that has been found before.
func StillValid(peer exchange.Peer, now time.Time) error { return prefixed(stillValid(peer, now)) }

func stillValid(peer exchange.Peer, now time.Time) error {
	switch {
	case peer.Cert == nil:
		return errors.New("no peer certificate")
	case now.After(peer.Cert.NotAfter):
		return fmt.Errorf("the certificate of peer %s expired at %s, it is %s now: the peer must open a new connection with a fresh one",
			peer.ID, stamp(peer.Cert.NotAfter), stamp(now))
	case now.Before(peer.Cert.NotBefore):
		return fmt.Errorf("the certificate of peer %s is not valid before %s, it is %s now: compare both clocks",
			peer.ID, stamp(peer.Cert.NotBefore), stamp(now))
	}
	return nil
}

// RetirePeer says when a connection to peer must no longer be reused: a tenth
// of its certificate's life before it expires. A pool takes the earlier of
// this and [Retire].
func RetirePeer(peer exchange.Peer) time.Time {
	if peer.Cert == nil {
		return time.Time{}
	}
	return retireAt(peer.Cert.NotBefore, peer.Cert.NotAfter)
}

// peerOf names the owner of a leaf: exactly one URI SAN, a workload's SPIFFE
// ID (SPIFFE X509-SVID, section 2).
func peerOf(cert *x509.Certificate) (exchange.Peer, error) {
	if len(cert.URIs) != 1 {
		found := make([]string, len(cert.URIs))
		for i, u := range cert.URIs {
			found[i] = u.String()
		}
		what := "none"
		if len(found) > 0 {
			what = strings.Join(found, ", ")
		}
		return exchange.Peer{}, fmt.Errorf("the peer's certificate must have exactly one URI SAN, its SPIFFE ID; it has %d (%s)", len(found), clip(what))
	}
	id, err := spiffeid.FromURI(cert.URIs[0])
	if err != nil {
		return exchange.Peer{}, fmt.Errorf("the peer's URI SAN %q is not a SPIFFE ID: %w", clip(cert.URIs[0].String()), err)
	}
	if id.Path() == "" {
		return exchange.Peer{}, fmt.Errorf("the peer's SPIFFE ID %q names a trust domain, not a workload", clip(id.String()))
	}
	return exchange.Peer{ID: id.String(), TrustDomain: id.TrustDomain().Name(), Cert: cert}, nil
}

// clip bounds what a stranger's certificate may put into our messages.
func clip(s string) string {
	const limit = 300
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
