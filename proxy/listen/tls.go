package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
)

// What Options.ClientAuth may ask of clients. Whoever shows a certificate must
// show a good one, in both cases.
const (
	NoClientCert      = "none"
	RequestClientCert = "request"
	RequireClientCert = "require"
)

// Options are a listener's terms. The zero value is good.
type Options struct {
	MinVersion string // "1.2" unless it is "1.3"; older ones are refused
	StrictSNI  bool   // refuse a handshake for a name no certificate covers, instead of showing the first one
	ClientAuth string // NoClientCert unless set; the others need ClientCA
	ClientCA   string // PEM file; read again when it changes, as the certificates are
	NoTickets  bool   // no session resumption, also without client certificates

	// Challenge is the certificate that answers a TLS-ALPN-01 challenge (RFC
	// 8737) for a name, nil when none is pending. It may be nil itself.
	Challenge func(serverName string) *tls.Certificate
	// Missing is told of a handshake that no certificate could be shown for. It
	// may be nil.
	Missing func(serverName string)
}

// challengeProtocol is offered, alone, by whoever validates a TLS-ALPN-01
// challenge.
const challengeProtocol = "acme-tls/1"

// TLSConfig returns a listener's TLS configuration: TLS 1.2 with forward
// secrecy and authenticated encryption only, or 1.3. It sets no ALPN; the engine
// that serves says what it speaks.
//
// Session tickets are on without client certificates: they save clients a round
// trip, and their keys are rotated daily by crypto/tls. With client certificates
// they are off: every connection is checked anew against the CAs of the moment.
func TLSConfig(certs *Certificates, o Options) (*tls.Config, error) {
	if certs == nil {
		return nil, errors.New("listen: a TLS config needs certificates")
	}
	c := &tls.Config{
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: o.NoTickets,
		CipherSuites: []uint16{ // TLS 1.2 only; 1.3 has its own fixed set
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := certs.choose(hello, o.StrictSNI)
		if err != nil && o.Missing != nil {
			o.Missing(hello.ServerName)
		}
		return cert, err
	}
	switch o.MinVersion {
	case "", "1.2":
	case "1.3":
		c.MinVersion = tls.VersionTLS13
	default:
		return nil, fmt.Errorf("listen: minimum TLS version %q: expected \"1.2\" or \"1.3\"", o.MinVersion)
	}
	current, err := clientAuth(c, certs, o)
	if err != nil {
		return nil, err
	}
	if current != nil || o.Challenge != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if o.Challenge != nil && len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == challengeProtocol {
				return challenge(o.Challenge(hello.ServerName), hello.ServerName)
			}
			if current != nil {
				return current(), nil
			}
			return nil, nil
		}
	}
	return c, nil
}

// challenge is the configuration for whoever validates a challenge, who has no
// certificate to show. The connection is of no other use: no engine speaks its
// protocol.
func challenge(cert *tls.Certificate, name string) (*tls.Config, error) {
	if cert == nil {
		return nil, fmt.Errorf("listen: no ACME challenge is pending for server name %q", name)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cert},
		NextProtos: []string{challengeProtocol}, SessionTicketsDisabled: true}, nil
}

// clientAuth makes c ask for client certificates. What it returns is c with the
// CAs of the moment, nil when none are asked for.
func clientAuth(c *tls.Config, certs *Certificates, o Options) (current func() *tls.Config, err error) {
	switch o.ClientAuth {
	case "", NoClientCert:
		if o.ClientCA != "" {
			return nil, errors.New("listen: a client CA file is given but client certificates are not asked for: set client auth to request or require")
		}
		return nil, nil
	case RequestClientCert:
		c.ClientAuth = tls.VerifyClientCertIfGiven
	case RequireClientCert:
		c.ClientAuth = tls.RequireAndVerifyClientCert
	default:
		return nil, fmt.Errorf("listen: client auth %q: expected %q, %q or %q", o.ClientAuth, NoClientCert, RequestClientCert, RequireClientCert)
	}
	if o.ClientCA == "" {
		return nil, fmt.Errorf("listen: client auth %q needs a client CA file to check certificates against", o.ClientAuth)
	}
	if err := certs.follow(o.ClientCA); err != nil {
		return nil, err
	}
	c.SessionTicketsDisabled = true
	c.ClientCAs = certs.cur.Load().clients
	base := c.Clone() // before GetConfigForClient is set
	var made atomic.Pointer[tls.Config]
	made.Store(base)
	return func() *tls.Config {
		clients, last := certs.cur.Load().clients, made.Load()
		if last.ClientCAs != clients {
			last = base.Clone()
			last.ClientCAs = clients
			made.Store(last)
		}
		return last
	}, nil
}
