package mtls

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"lintel.dev/lintel/proxy/exchange"
)

// Options of a TLS config. The zero value is what two Lintels speak.
type Options struct {
	// AllowTLS12 also accepts TLS 1.2, for foreign Consul Connect proxies and
	// native clients. Else it is TLS 1.3 only.
	AllowTLS12 bool
	// TrustDomains are those of which a server admits peers besides its own;
	// the source must hold their bundles (SPIFFE federation).
	TrustDomains []string
}

// ServerConfig makes the TLS config of a mesh listener: the newest identity of
// src at every handshake, and a client that must show an X.509-SVID of the
// trust domain that verifies against the newest roots. authorize may then
// refuse it; nil admits the whole trust domain.
//
// With TLS 1.3 a refused client learns of it on its first read, not from its
// handshake. NextProtos is left to the engine.
func ServerConfig(src Source, authorize func(exchange.Peer) error, o Options) *tls.Config {
	c := base(src, o)
	c.ClientAuth = tls.RequireAnyClientCert // verified below, against SPIFFE bundles
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return ownCertificate(src) }
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		own, peer, err := verify(src, &cs)
		if err == nil && peer.TrustDomain != own.TrustDomain().Name() && !slices.Contains(o.TrustDomains, peer.TrustDomain) {
			err = fmt.Errorf("peer %s is of another trust domain than ours, %s", peer.ID, own.TrustDomain())
		}
		if err == nil && authorize != nil {
			if err = authorize(peer); err != nil {
				err = fmt.Errorf("peer %s refused: %w", peer.ID, err)
			}
		}
		return prefixed(err)
	}
	return c
}

// ClientConfig makes the TLS config towards a mesh service: the newest
// identity of src at every handshake, and a server whose X.509-SVID verifies
// against the newest roots and whom expect accepts; see [Expect]. A nil expect
// accepts no one. NextProtos and ServerName are left to the engine; the name
// proves nothing here.
func ClientConfig(src Source, expect func(exchange.Peer) error, o Options) *tls.Config {
	c := base(src, o)
	// Certificates carry SPIFFE IDs, not host names: VerifyConnection does the
	// whole verification in place of the standard one.
	c.InsecureSkipVerify = true
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return ownCertificate(src) }
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		_, peer, err := verify(src, &cs)
		if err == nil {
			if expect == nil {
				err = errors.New("no SPIFFE ID is expected of this service, so none is accepted: set identity.service_id or the service's spiffe_id")
			} else {
				err = expect(peer)
			}
		}
		return prefixed(err)
	}
	return c
}

// Expect accepts exactly the SPIFFE IDs given, of which there is at least one.
func Expect(ids ...string) (func(exchange.Peer) error, error) {
	if len(ids) == 0 {
		return nil, errors.New("mtls: no expected SPIFFE ID given")
	}
	for _, id := range ids {
		if _, err := parseWorkloadID(id); err != nil {
			return nil, fmt.Errorf("mtls: expected SPIFFE ID: %w", err)
		}
	}
	ids = slices.Clone(ids)
	return func(peer exchange.Peer) error {
		if !slices.Contains(ids, peer.ID) {
			return fmt.Errorf("the endpoint is %s, expected %s: its address belongs to another service, or the service's ID is configured wrongly",
				peer.ID, strings.Join(ids, " or "))
		}
		return nil
	}, nil
}

// base holds what both sides share. No session is ever resumed: a resumed one
// skips the certificate, and with it the checks of this very moment.
func base(src Source, o Options) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
	if o.AllowTLS12 {
		c.MinVersion = tls.VersionTLS12
		c.CipherSuites = []uint16{ // of TLS 1.2: forward secrecy and AEAD only
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		}
	}
	return c
}

// ownCertificate returns our certificate for one handshake, or why there is
// none to show.
func ownCertificate(src Source) (*tls.Certificate, error) {
	svid, err := ownIdentity(src)
	if err != nil {
		return nil, prefixed(err)
	}
	chain := make([][]byte, len(svid.Certificates))
	for i, c := range svid.Certificates {
		chain[i] = c.Raw
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}, nil
}

// ownIdentity fails closed: an expired identity is none. The error is a
// *exchange.Fault: what is wrong here must not be held against the service that
// a connection was meant for.
func ownIdentity(src Source) (*x509svid.SVID, error) {
	svid, err := src.GetX509SVID()
	if err != nil {
		return nil, ownFault("this process has no identity yet", fmt.Errorf("no own identity: %w", err))
	}
	leaf, now := svid.Certificates[0], time.Now()
	if now.After(leaf.NotAfter) {
		why := "the identity source reported no failure; compare its clock with ours"
		if st := src.Status(); st.Err != "" {
			why = "the identity source's last failure: " + st.Err
		}
		return nil, ownFault("the identity of this process has expired and has not been renewed",
			fmt.Errorf("the own identity %s expired at %s, %s ago, and has not been renewed (%s)",
				svid.ID, stamp(leaf.NotAfter), now.Sub(leaf.NotAfter).Round(time.Second), why))
	}
	return svid, nil
}

func ownFault(detail string, err error) error {
	return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusServiceUnavailable, Code: "identity",
		Title: "Internal identity is not in order", Detail: detail, Err: err}
}

// verify checks both ends of a handshake against the source's newest state.
func verify(src Source, cs *tls.ConnectionState) (own spiffeid.ID, peer exchange.Peer, err error) {
	svid, err := ownIdentity(src)
	if err != nil {
		return own, peer, err
	}
	if cs.DidResume {
		return own, peer, errors.New("the session was resumed, which mesh TLS never does")
	}
	if len(cs.PeerCertificates) == 0 {
		return own, peer, errNoPeerCert
	}
	if peer, err = peerOf(cs.PeerCertificates[0]); err != nil {
		return own, peer, err
	}
	if _, _, err = x509svid.Verify(cs.PeerCertificates, src); err != nil {
		return own, peer, fmt.Errorf("peer claims to be %s: %w", clip(peer.ID), err)
	}
	return svid.ID, peer, nil
}

func prefixed(err error) error {
	if err == nil || errors.Is(err, errNoPeerCert) {
		return err
	}
	return fmt.Errorf("mtls: %w", err)
}
