package listen

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// read loads every pair and checks it.
func (c *Certificates) read() (*certSet, error) {
	set := &certSet{exact: map[string][]*tls.Certificate{}, wildcard: map[string][]*tls.Certificate{}}
	sum := sha256.New()
	for _, p := range c.pairs {
		cert, content, err := p.load()
		if err != nil {
			return nil, err
		}
		_, _ = sum.Write(content[:])
		set.add(cert)
	}
	set.files = set.list
	if c.clientCA != "" {
		var err error
		if set.clients, set.trust, err = bundle(c.clientCA); err != nil {
			return nil, err
		}
		_, _ = sum.Write(set.trust[:])
	}
	sum.Sum(set.sum[:0])
	return set, nil
}

// load reads one pair; sum identifies its content.
func (p Pair) load() (cert *tls.Certificate, sum [sha256.Size]byte, err error) {
	certPEM, err := readFile(p.Cert)
	if err != nil {
		return nil, sum, fmt.Errorf("listen: certificate file: %w", err)
	}
	keyPEM, err := readFile(p.Key)
	if err != nil {
		return nil, sum, fmt.Errorf("listen: key file: %w", err)
	}
	loaded, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, sum, fmt.Errorf("listen: certificate %s with key %s: expected a PEM certificate chain, leaf first, and the leaf's own key: %w", p.Cert, p.Key, err)
	}
	leaf := loaded.Leaf
	if now := time.Now(); now.After(leaf.NotAfter) {
		return nil, sum, fmt.Errorf("listen: certificate %s expired at %s; renew it", p.Cert, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0 && len(leaf.URIs) == 0 {
		return nil, sum, fmt.Errorf("listen: certificate %s names no host: it needs a subjectAltName (the common name alone is not looked at)", p.Cert)
	}
	h := sha256.New()
	for _, part := range [...][]byte{certPEM, {0}, keyPEM} {
		_, _ = h.Write(part)
	}
	h.Sum(sum[:0])
	return &loaded, sum, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: not a PEM file of certificates", path, maxFile)
	}
	return b, nil
}

func (s *certSet) add(cert *tls.Certificate) {
	s.list = append(s.list, cert)
	for _, name := range cert.Leaf.DNSNames {
		name = strings.TrimSuffix(strings.ToLower(name), ".")
		if parent, ok := strings.CutPrefix(name, "*."); ok {
			s.wildcard[parent] = append(s.wildcard[parent], cert)
		} else {
			s.exact[name] = append(s.exact[name], cert)
		}
	}
}

// with is the generation of the same files and other managed certificates.
func (s *certSet) with(managed []*tls.Certificate) *certSet {
	next := &certSet{files: s.files, sum: s.sum, clients: s.clients, trust: s.trust,
		exact: map[string][]*tls.Certificate{}, wildcard: map[string][]*tls.Certificate{}}
	for _, list := range [...][]*tls.Certificate{s.files, managed} {
		for _, cert := range list {
			next.add(cert)
		}
	}
	return next
}

// nameOf is what a certificate is called in metrics: its first name.
func nameOf(leaf *x509.Certificate) string {
	switch {
	case len(leaf.DNSNames) > 0:
		return strings.ToLower(leaf.DNSNames[0])
	case len(leaf.IPAddresses) > 0:
		return leaf.IPAddresses[0].String()
	case len(leaf.URIs) > 0:
		return leaf.URIs[0].String()
	}
	return leaf.Subject.CommonName
}

func (s *certSet) expiry() time.Time {
	if len(s.list) == 0 {
		return time.Time{}
	}
	first := s.list[0].Leaf.NotAfter
	for _, cert := range s.list[1:] {
		if cert.Leaf.NotAfter.Before(first) {
			first = cert.Leaf.NotAfter
		}
	}
	return first
}

// bundle reads the CA certificates clients are checked against; sum identifies
// them.
func bundle(path string) (pool *x509.CertPool, sum [sha256.Size]byte, err error) {
	pem, err := readFile(path)
	if err != nil {
		return nil, sum, fmt.Errorf("listen: client CA file: %w", err)
	}
	pool = x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, sum, fmt.Errorf("listen: client CA file %s: expected at least one PEM certificate, found none", path)
	}
	return pool, sha256.Sum256(pem), nil
}
