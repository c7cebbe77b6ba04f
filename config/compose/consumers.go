package compose

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/apikey"
	"lintel.dev/lintel/proxy/filter/consumer"
)

// Consumers makes the list of known API clients, once for all routes, and finds
// what two of them must not share.
func Consumers(s *config.Snapshot) ([]filter.Consumer, error) {
	r := consumerReader{s: s, keys: map[[32]byte]string{}, certs: map[filter.ConsumerCertificate]string{}}
	var out []filter.Consumer
	for _, name := range slices.Sorted(maps.Keys(s.Consumers)) {
		out = append(out, r.read(name, s.Consumers[name]))
	}
	return out, errors.Join(r.errs...)
}

type consumerReader struct {
	s     *config.Snapshot
	keys  map[[32]byte]string // whose they are
	certs map[filter.ConsumerCertificate]string
	errs  []error
}

func (r *consumerReader) fail(path, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s: %s: %s", r.s.Pos(path), path, fmt.Sprintf(format, args...)))
}

func (r *consumerReader) read(name string, c config.Consumer) filter.Consumer {
	at := "consumers." + name
	if name == "" || len(name) > 128 || strings.TrimSpace(name) != name || !plainText(name) {
		r.fail(at, "%q is no consumer's name: want 1 to 128 characters, none of them a control character or a space at an end", name)
	}
	for i, g := range c.Groups {
		if g == "" || strings.Contains(g, ",") || !plainText(g) {
			r.fail(fmt.Sprintf("%s.groups[%d]", at, i), "%q is no group: want text without commas and control characters", g)
		}
	}
	out := filter.Consumer{Name: name, Groups: c.Groups, Metadata: c.Metadata, Tags: c.Tags}
	for i, k := range c.APIKeys {
		key := filter.ConsumerKey{ID: k.ID, Expires: k.Expires}
		path := fmt.Sprintf("%s.api_keys[%d]", at, i)
		if n, err := hex.Decode(key.Hash[:], []byte(strings.TrimPrefix(k.Hash, apikey.HashPrefix))); err != nil || n != len(key.Hash) {
			r.fail(path, "the hash is not sha256: and 64 hex digits")
			continue
		}
		if other, taken := r.keys[key.Hash]; taken {
			r.fail(path, "is a key of consumer %s already: a key is one consumer's, once", other)
		}
		r.keys[key.Hash] = name
		out.Keys = append(out.Keys, key)
	}
	for i, m := range c.Certificates {
		path := fmt.Sprintf("%s.certificates[%d]", at, i)
		cert, key, err := certificateOf(m)
		if err != nil {
			r.fail(path+key, "%s", err)
			continue
		}
		if other, taken := r.certs[cert]; taken {
			r.fail(path, "stands for the same certificates as one of consumer %s", other)
		}
		r.certs[cert] = name
		out.Certificates = append(out.Certificates, cert)
	}
	return out
}

// certificateOf brings an entry into the spelling that certificates are
// compared in. key is where an error belongs.
func certificateOf(m config.ClientCert) (c filter.ConsumerCertificate, key string, err error) {
	if m == (config.ClientCert{}) {
		return c, "", errors.New("names no certificate: want at least one of uri, dns, email, subject, issuer and fingerprint")
	}
	c = filter.ConsumerCertificate{DNS: strings.ToLower(strings.TrimSuffix(m.DNS, ".")), Email: m.Email}
	if m.URI != "" {
		u, err := url.Parse(m.URI)
		if err != nil || u.Scheme == "" {
			return c, ".uri", fmt.Errorf("%q is no absolute URI, as spiffe://partner.example/billing", m.URI)
		}
		c.URI = u.String()
	}
	if m.Subject != "" {
		if c.Subject, err = consumer.ParseDN(m.Subject); err != nil {
			return c, ".subject", err
		}
	}
	if m.Issuer != "" {
		if c.Issuer, err = consumer.ParseDN(m.Issuer); err != nil {
			return c, ".issuer", err
		}
	}
	if m.Fingerprint != "" {
		n, err := hex.Decode(c.Fingerprint[:], []byte(strings.ReplaceAll(m.Fingerprint, ":", "")))
		if err != nil || n != len(c.Fingerprint) {
			return c, ".fingerprint", errors.New("is not a SHA-256 in 64 hex digits")
		}
		c.Pinned = true
	}
	return c, "", nil
}

func plainText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
