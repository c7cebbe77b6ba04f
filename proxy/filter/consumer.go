package filter

import "time"

// Consumer is a known API client.
type Consumer struct {
	Name         string
	Groups       []string
	Metadata     map[string]string // may be told to services
	Tags         map[string]string
	Keys         []ConsumerKey
	Certificates []ConsumerCertificate
}

// ConsumerKey is an API key of which only the SHA-256 is known.
type ConsumerKey struct {
	Hash    [32]byte
	ID      string    // tells it apart in logs and for services; "" when not given
	Expires time.Time // zero: never
}

// ConsumerCertificate says which client certificates are a consumer's: all that
// is given must be so.
type ConsumerCertificate struct {
	URI         string   // a URI SAN, a SPIFFE ID say
	DNS         string   // a DNS SAN, lower case
	Email       string   // an email SAN
	Subject     string   // the subject's distinguished name, RFC 4514
	Issuer      string   // the issuer's
	Fingerprint [32]byte // SHA-256 of the certificate
	Pinned      bool     // whether there is a Fingerprint
}
