package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
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
	ClientCA   string // PEM file; read again when it changes, with the certificates
	NoTickets  bool   // no session resumption: for where every connection must be verified anew

	// Challenge is the certificate that answers a TLS-ALPN-01 challenge (RFC
	// 8737) for a name, nil when none is pending. It may be nil itself.
	Challenge func(serverName string) *tls.Certificate
	// Missing is told of a handshake that no certificate could be shown for. It
	// may be nil.
	Missing func(serverName string)
}

// TLSConfig returns a listener's TLS configuration: TLS 1.2 with forward
// secrecy and authenticated encryption only, or 1.3. It sets no ALPN; the engine
// that serves says what it speaks.
//
// Session tickets are on: at the edge they save clients a round trip, their keys
// are rotated daily by crypto/tls, and with client certificates a resumed
// session keeps the identity it was opened with, until the CAs change: then
// nothing is resumed. Where that must be checked on every connection, as between the mesh's members, set NoTickets.
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
	if err := clientAuth(c, certs, o); err != nil {
		return nil, err
	}
	if o.Challenge != nil {
		answerChallenges(c, o.Challenge)
	}
	return c, nil
}

// clientAuth makes c ask for client certificates, if it is to.
func clientAuth(c *tls.Config, certs *Certificates, o Options) error {
	switch o.ClientAuth {
	case "", NoClientCert:
		if o.ClientCA != "" {
			return errors.New("listen: a client CA file is given but client certificates are not asked for: set client auth to request or require")
		}
		return nil
	case RequestClientCert:
		c.ClientAuth = tls.VerifyClientCertIfGiven
	case RequireClientCert:
		c.ClientAuth = tls.RequireAndVerifyClientCert
	default:
		return fmt.Errorf("listen: client auth %q: expected %q, %q or %q", o.ClientAuth, NoClientCert, RequestClientCert, RequireClientCert)
	}
	if o.ClientCA == "" {
		return fmt.Errorf("listen: client auth %q needs a client CA file to check certificates against", o.ClientAuth)
	}
	if err := certs.trustClients(o.ClientCA); err != nil {
		return err
	}
	certs.current(c)
	return nil
}
