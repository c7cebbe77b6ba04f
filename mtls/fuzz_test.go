package mtls

import (
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// FuzzReadBundle: whatever a bundle endpoint sends, what is taken is a bundle of
// the trust domain that was asked for.
func FuzzReadBundle(f *testing.F) {
	f.Add(`{"keys":[]}`)
	f.Add(`{"keys":[{"use":"x509-svid","kty":"EC","crv":"P-256","x5c":["MII="]}],"spiffe_refresh_hint":60,"spiffe_sequence":1}`)
	f.Add("-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n")
	f.Add(`{"keys":null}`)
	td := spiffeid.RequireTrustDomainFromString(partner)
	f.Fuzz(func(t *testing.T, text string) {
		b, err := readBundle(td, strings.NewReader(text))
		if err == nil && b.TrustDomain() != td {
			t.Errorf("a bundle of %s", b.TrustDomain())
		}
		if err == nil && len(text) > bundleLimit {
			t.Errorf("%d bytes were taken", len(text))
		}
	})
}
