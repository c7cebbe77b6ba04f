package mtls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func newRoot(td spiffeid.TrustDomain, now time.Time) (caRoot, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return caRoot{}, err
	}
	tmpl := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Lintel embedded CA (development only)"}, CommonName: td.Name()},
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.Add(rootLife),
		URIs:                  []*url.URL{td.ID().URL()},
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return caRoot{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return caRoot{cert: cert, key: key, signsFrom: now}, err
}

// leaf is an issued X.509-SVID as the Workload API carries it, with the roots
// of its moment.
type leaf struct {
	id                spiffeid.ID
	cert, key, bundle []byte // DER; bundle is a concatenation
	renewAt           time.Time
}

// issue makes a key and a leaf for id.
func (c *CA) issue(id spiffeid.ID, now time.Time) (*leaf, error) {
	if !id.MemberOf(c.td) || id.Path() == "" {
		return nil, fmt.Errorf("the CA of trust domain %s cannot issue for %q: expected spiffe://%s/ and a path", c.td.Name(), id, c.td.Name())
	}
	v := c.view.Load()
	// Certificates count whole seconds: round up, or a leaf of 2 s lives 1.
	notAfter := now.Add(c.cfg.TTL).Truncate(time.Second).Add(time.Second)
	if r := v.signer.retiresAt; !r.IsZero() && notAfter.After(r) {
		notAfter = r
	}
	if notAfter.After(v.signer.cert.NotAfter) || !notAfter.After(now) {
		return nil, errors.New("the signing root is about to expire: rotate the root, or remove the CA's directory and start again")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		Subject: pkix.Name{Organization: []string{"Lintel embedded CA (development only)"}},
		// A little early, for peers whose clock is a little late.
		NotBefore:             now.Add(-min(c.cfg.TTL/10, 30*time.Second)),
		NotAfter:              notAfter,
		URIs:                  []*url.URL{id.URL()},
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	l := &leaf{id: id, renewAt: now.Add(notAfter.Sub(now) / 2)}
	if l.cert, err = x509.CreateCertificate(rand.Reader, tmpl, v.signer.cert, key.Public(), v.signer.key); err != nil {
		return nil, err
	}
	if l.key, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, err
	}
	for _, root := range v.bundle {
		l.bundle = append(l.bundle, root.Raw...)
	}
	return l, nil
}
