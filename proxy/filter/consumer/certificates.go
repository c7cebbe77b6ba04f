package consumer

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/filter"
)

// certificates finds consumers by certificate. Each entry is listed under the
// most telling thing it gives.
type certificates struct {
	pinned                             map[uint64][]claim // by the first bytes of the fingerprint
	uris, names, emails, subjects, cas map[string][]claim
}

type claim struct {
	consumer *Consumer
	filter.ConsumerCertificate
}

func (l *certificates) add(c *Consumer, m filter.ConsumerCertificate) {
	k := claim{c, m}
	put := func(to *map[string][]claim, at string) {
		if *to == nil {
			*to = map[string][]claim{}
		}
		(*to)[at] = append((*to)[at], k)
	}
	switch {
	case m.Pinned:
		if l.pinned == nil {
			l.pinned = map[uint64][]claim{}
		}
		at := binary.BigEndian.Uint64(m.Fingerprint[:])
		l.pinned[at] = append(l.pinned[at], k)
	case m.URI != "":
		put(&l.uris, m.URI)
	case m.Email != "":
		put(&l.emails, m.Email)
	case m.DNS != "":
		put(&l.names, m.DNS)
	case m.Subject != "":
		put(&l.subjects, m.Subject)
	case m.Issuer != "":
		put(&l.cas, m.Issuer)
	}
}

// ErrAmbiguous is a certificate that is equally two consumers'.
var ErrAmbiguous = errors.New("consumer: the certificate is equally that of several consumers")

// Shown is a certificate with what it is looked up by.
type Shown struct {
	*x509.Certificate
	Fingerprint         [32]byte // SHA-256 over it
	SubjectDN, IssuerDN string   // as FormatDN writes them
}

// Show computes them.
func Show(c *x509.Certificate) (*Shown, error) {
	s := &Shown{Certificate: c, Fingerprint: sha256.Sum256(c.Raw)}
	var err error
	if s.SubjectDN, err = FormatDN(c.RawSubject); err != nil {
		return nil, fmt.Errorf("consumer: subject: %w", err)
	}
	if s.IssuerDN, err = FormatDN(c.RawIssuer); err != nil {
		return nil, fmt.Errorf("consumer: issuer: %w", err)
	}
	return s, nil
}

// Certified returns whose certificate it is, nil when nobody's. The most
// telling match decides: fingerprint, then URI, email, DNS name, subject,
// issuer. Two consumers of one rank are an error, never a guess.
func (d *Directory) Certified(s *Shown) (*Consumer, error) {
	l := &d.certificates
	var lists [6][]claim
	lists[0] = l.pinned[binary.BigEndian.Uint64(s.Fingerprint[:])]
	for _, u := range s.URIs {
		lists[1] = append(lists[1], l.uris[u.String()]...)
	}
	for _, e := range s.EmailAddresses {
		lists[2] = append(lists[2], l.emails[e]...)
	}
	for _, n := range s.DNSNames {
		lists[3] = append(lists[3], l.names[strings.ToLower(n)]...)
	}
	lists[4] = l.subjects[s.SubjectDN]
	lists[5] = l.cas[s.IssuerDN]
	for _, list := range lists {
		var found *Consumer
		for i := range list {
			switch c := &list[i]; {
			case !c.matches(s) || found == c.consumer:
			case found != nil:
				return nil, ErrAmbiguous
			default:
				found = c.consumer
			}
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, nil
}

// matches asks for everything the entry gives. A SPIFFE ID counts only as the
// certificate's one URI (X509-SVID section 2).
func (c *claim) matches(s *Shown) bool {
	if c.Pinned && subtle.ConstantTimeCompare(c.Fingerprint[:], s.Fingerprint[:]) != 1 {
		return false
	}
	if c.URI != "" {
		has := false
		for _, u := range s.URIs {
			has = has || u.String() == c.URI
		}
		if !has || strings.HasPrefix(c.URI, "spiffe://") && len(s.URIs) != 1 {
			return false
		}
	}
	return (c.Email == "" || slices.Contains(s.EmailAddresses, c.Email)) &&
		(c.DNS == "" || slices.ContainsFunc(s.DNSNames, func(n string) bool { return strings.EqualFold(n, c.DNS) })) &&
		(c.Subject == "" || c.Subject == s.SubjectDN) && (c.Issuer == "" || c.Issuer == s.IssuerDN)
}
