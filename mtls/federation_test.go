package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	partner = "partner.example"
	shopID  = "spiffe://partner.example/svc/shop"
)

func bundleOf(ca *CA) *spiffebundle.Bundle {
	return spiffebundle.FromX509Authorities(ca.td, ca.view.Load().bundle)
}

// bundleFile writes the bundle of ca as a SPIFFE bundle, or as PEM.
func bundleFile(t *testing.T, ca *CA, asPEM bool) string {
	t.Helper()
	data := must[[]byte](t)(bundleOf(ca).Marshal())
	if asPEM {
		data = must[[]byte](t)(bundleOf(ca).X509Bundle().Marshal())
	}
	path := filepath.Join(t.TempDir(), "bundle")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func federate(t *testing.T, src Source, list ...FederationConfig) *Federated {
	t.Helper()
	f := must[*Federated](t)(Federate(unclosed{src}, list, nil))
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// unclosed is a source that the test closes itself.
type unclosed struct{ Source }

func (unclosed) Close() error { return nil }

func roots(s *Federated, domain string) int {
	for _, d := range s.Domains() {
		if d.TrustDomain == domain {
			return d.Roots
		}
	}
	return -1
}

// endpoint serves what bundle holds at the moment, as conf proves it.
func endpoint(t *testing.T, conf *tls.Config, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = conf
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func serving(t *testing.T, bundle *atomic.Pointer[spiffebundle.Bundle]) http.Handler {
	t.Helper()
	td := must[spiffeid.TrustDomain](t)(spiffeid.TrustDomainFromString(partner))
	return must[http.Handler](t)(federation.NewHandler(td, bundleFunc(func() *spiffebundle.Bundle { return bundle.Load() })))
}

type bundleFunc func() *spiffebundle.Bundle

func (f bundleFunc) GetBundleForTrustDomain(td spiffeid.TrustDomain) (*spiffebundle.Bundle, error) {
	return f().GetBundleForTrustDomain(td)
}

func TestFederatedPeersMeetBothWays(t *testing.T) {
	ours, theirs, third := openCA(t, CAConfig{}), openCA(t, CAConfig{TrustDomain: partner}), openCA(t, CAConfig{TrustDomain: "third.example"})
	orders := federate(t, sourceOf(t, ours, ordersID), FederationConfig{TrustDomain: partner, File: bundleFile(t, theirs, false)})
	shop := federate(t, sourceOf(t, theirs, shopID), FederationConfig{TrustDomain: DefaultTrustDomain, File: bundleFile(t, ours, true)})
	admits := Options{TrustDomains: orders.Names()}
	sErr, cErr, _ := handshake(t, ServerConfig(orders, nil, admits), ClientConfig(shop, expecting(t, ordersID), Options{}))
	if sErr != nil || cErr != nil {
		t.Errorf("in: %v, %v", sErr, cErr)
	}
	sErr, cErr, _ = handshake(t, ServerConfig(shop, nil, Options{TrustDomains: shop.Names()}), ClientConfig(orders, expecting(t, shopID), Options{}))
	if sErr != nil || cErr != nil {
		t.Errorf("out: %v, %v", sErr, cErr)
	}

	trusting := func(s Source) Source { return knows{s, ours} }
	for name, c := range map[string]struct {
		client Source
		says   string
	}{
		"a trust domain that is not federated": {trusting(sourceOf(t, third, "spiffe://third.example/svc/x")), "third.example"},
		// What a partner's CA signs in our name, or in a third one's, is nobody's.
		"the partner's CA in our name":      {trusting(forge(t, theirs, x509.Certificate{URIs: uris(webID)})), "unknown authority"},
		"the partner's CA in a third name":  {trusting(forge(t, theirs, x509.Certificate{URIs: uris("spiffe://third.example/svc/x")})), "third.example"},
		"our CA in the partner's name":      {trusting(forge(t, ours, x509.Certificate{URIs: uris(shopID)})), "unknown authority"},
		"the partner's name only alike":     {trusting(forge(t, theirs, x509.Certificate{URIs: uris("spiffe://partner.example.evil/svc/shop")})), "partner.example.evil"},
		"the partner's, both names at once": {trusting(forge(t, theirs, x509.Certificate{URIs: uris(shopID, webID)})), "exactly one URI SAN"},
	} {
		sErr, cErr, _ := handshake(t, ServerConfig(orders, nil, admits), ClientConfig(c.client, expecting(t, ordersID), Options{}))
		if cErr == nil {
			t.Errorf("%s: served", name)
		}
		wantError(t, sErr, c.says)
	}
	sErr, cErr, _ = handshake(t, ServerConfig(shop, nil, Options{TrustDomains: shop.Names()}),
		ClientConfig(orders, expecting(t, "spiffe://partner.example/svc/other"), Options{}))
	wantError(t, cErr, "the endpoint is "+shopID)
	if sErr == nil {
		t.Error("the wrong service was spoken to")
	}
}

func TestABundleEndpointIsFollowed(t *testing.T) {
	ours, theirs, next := openCA(t, CAConfig{}), openCA(t, CAConfig{TrustDomain: partner}), openCA(t, CAConfig{TrustDomain: partner})
	var bundle atomic.Pointer[spiffebundle.Bundle]
	bundle.Store(bundleOf(theirs))
	var down, revoked atomic.Bool
	handler := serving(t, &bundle)
	web := endpoint(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			http.Error(w, "out of order", http.StatusServiceUnavailable)
			return
		}
		if revoked.Load() {
			_, _ = w.Write([]byte(`{"keys":[],"spiffe_refresh_hint":1}`))
			return
		}
		handler.ServeHTTP(w, r)
	}))
	ca := filepath.Join(t.TempDir(), "web.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	s := federate(t, sourceOf(t, ours, ordersID), FederationConfig{TrustDomain: partner, URL: web.URL, CA: ca, Refresh: 20 * time.Millisecond})
	eventually(t, "its bundle is in force", func() bool { return roots(s, partner) == 1 })

	both := bundleOf(theirs)
	both.AddX509Authority(next.view.Load().bundle[0])
	bundle.Store(both)
	eventually(t, "a second root is in force", func() bool { return roots(s, partner) == 2 })

	down.Store(true)
	eventually(t, "the failure is told", func() bool { return strings.Contains(s.Domains()[0].Err, "503") })
	if n := roots(s, partner); n != 2 {
		t.Errorf("without the endpoint %d roots, want the 2 known", n)
	}
	down.Store(false)
	revoked.Store(true)
	eventually(t, "a bundle without keys ends the trust", func() bool { return roots(s, partner) == 0 && s.Domains()[0].Err == "" })
}

func TestASPIFFEBundleEndpointIsProved(t *testing.T) {
	ours, theirs := openCA(t, CAConfig{}), openCA(t, CAConfig{TrustDomain: partner})
	const server = "spiffe://partner.example/spire/server"
	var bundle atomic.Pointer[spiffebundle.Bundle]
	fuller := bundleOf(theirs)
	fuller.AddX509Authority(openCA(t, CAConfig{TrustDomain: partner}).view.Load().bundle[0])
	bundle.Store(fuller)
	conf := func(id string) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{*must[*tls.Certificate](t)(ownCertificate(sourceOf(t, theirs, id)))}}
	}
	good, wrong := endpoint(t, conf(server), serving(t, &bundle)), endpoint(t, conf(shopID), serving(t, &bundle))
	first, orders := bundleFile(t, theirs, false), sourceOf(t, ours, ordersID)

	s := federate(t, orders, FederationConfig{TrustDomain: partner, URL: good.URL, EndpointID: server, File: first})
	if n := roots(s, partner); n < 1 {
		t.Errorf("%d roots at once, want the file's", n)
	}
	eventually(t, "the endpoint's bundle", func() bool { return roots(s, partner) == 2 })

	s = federate(t, orders, FederationConfig{TrustDomain: partner, URL: wrong.URL, EndpointID: server, File: first})
	eventually(t, "another workload's endpoint is refused", func() bool { return strings.Contains(s.Domains()[0].Err, "unexpected ID") })
	if n := roots(s, partner); n != 1 {
		t.Errorf("%d roots, want the file's alone", n)
	}
}

func TestHostileBundleEndpoints(t *testing.T) {
	ours, theirs := openCA(t, CAConfig{}), openCA(t, CAConfig{TrustDomain: partner})
	var bundle atomic.Pointer[spiffebundle.Bundle]
	bundle.Store(bundleOf(theirs))
	honest := endpoint(t, nil, serving(t, &bundle))
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		says    string
	}{
		"a redirect":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, honest.URL, http.StatusFound) }, "302"},
		"too much":    {func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(make([]byte, bundleLimit+1)) }, "more than"},
		"no JSON":     {func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("<html>")) }, "parse"},
		"no keys key": {func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("{}")) }, "no authorities"},
	} {
		t.Run(name, func(t *testing.T) {
			e := endpoint(t, nil, c.handler)
			ca := filepath.Join(t.TempDir(), "web.pem")
			if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.Certificate().Raw}), 0o600); err != nil {
				t.Fatal(err)
			}
			s := federate(t, sourceOf(t, ours, ordersID), FederationConfig{TrustDomain: partner, URL: e.URL, CA: ca})
			eventually(t, "it is refused", func() bool { return strings.Contains(s.Domains()[0].Err, c.says) })
			if _, err := s.GetX509BundleForTrustDomain(theirs.td); err == nil || !strings.Contains(err.Error(), "partner.example yet") {
				t.Errorf("a bundle: %v", err)
			}
		})
	}
	s := federate(t, sourceOf(t, ours, ordersID), FederationConfig{TrustDomain: partner, URL: honest.URL})
	eventually(t, "an unknown CA is refused", func() bool { return strings.Contains(s.Domains()[0].Err, "unknown authority") })
}

func TestABundleFileIsReadAgain(t *testing.T) {
	theirs, next := openCA(t, CAConfig{TrustDomain: partner}), openCA(t, CAConfig{TrustDomain: partner})
	file := filepath.Join(t.TempDir(), "later")
	s := federate(t, sourceOf(t, openCA(t, CAConfig{}), ordersID), FederationConfig{TrustDomain: partner, File: file})
	if d := s.Domains()[0]; d.Roots != 0 || !strings.Contains(d.Err, "no such file") {
		t.Errorf("%+v", d)
	}
	for _, ca := range []*CA{theirs, next} {
		if err := os.Rename(bundleFile(t, ca, true), file); err != nil {
			t.Fatal(err)
		}
		eventually(t, "its bundle is in force", func() bool {
			b, err := s.GetX509BundleForTrustDomain(theirs.td)
			return err == nil && b.HasX509Authority(ca.view.Load().bundle[0])
		})
	}
}

// A trust domain listed without file and url is known by the Workload API's
// federated bundles.
func TestTheWorkloadAPIFederates(t *testing.T) {
	ours, theirs := openCA(t, CAConfig{}), openCA(t, CAConfig{TrustDomain: partner})
	a := &agent{response: &workload.X509SVIDResponse{}}
	socket := a.start(t, ours, webID, "")
	a.response.FederatedBundles = map[string][]byte{"spiffe://" + partner: theirs.view.Load().bundle[0].Raw}
	src := must[Source](t)(Workload(context.Background(), WorkloadConfig{Address: socket, Wait: 30 * time.Second}))
	s := must[*Federated](t)(Federate(src, []FederationConfig{{TrustDomain: partner}}, nil))
	defer s.Close()
	if d := s.Domains()[0]; d.Roots != 1 || d.From != "the identity source" || d.Err != "" {
		t.Errorf("%+v", d)
	}
	shop := knows{sourceOf(t, theirs, shopID), ours}
	sErr, cErr, _ := handshake(t, ServerConfig(s, nil, Options{TrustDomains: s.Names()}), ClientConfig(shop, expecting(t, webID), Options{}))
	if sErr != nil || cErr != nil {
		t.Error(sErr, cErr)
	}
	if b, err := s.GetX509BundleForTrustDomain(ours.td); err != nil || b.Equal(x509bundle.New(ours.td)) {
		t.Errorf("the own bundle: %v", err)
	}
}

func TestFederationIsChecked(t *testing.T) {
	for _, c := range []struct {
		list []FederationConfig
		says string
	}{
		{[]FederationConfig{{TrustDomain: "spiffe://x/y"}}, "trust_domain: expected a name"},
		{[]FederationConfig{{TrustDomain: ""}}, "trust_domain: expected a name"},
		{[]FederationConfig{{TrustDomain: "a"}, {TrustDomain: "a"}}, "federation[1]: trust domain a is listed twice"},
		{[]FederationConfig{{TrustDomain: "own.example"}}, "is the own trust domain"},
		{[]FederationConfig{{TrustDomain: "a", URL: "http://a"}}, "expected https://"},
		{[]FederationConfig{{TrustDomain: "a", URL: "https://u:p@a"}}, "expected https://"},
		{[]FederationConfig{{TrustDomain: "a", CA: "x"}}, "give its url too"},
		{[]FederationConfig{{TrustDomain: "a", URL: "https://a", EndpointID: "spiffe://a/s"}}, "give it as file"},
		{[]FederationConfig{{TrustDomain: "a", URL: "https://a", EndpointID: "spiffe://a"}}, "endpoint_id"},
		{[]FederationConfig{{TrustDomain: "a", URL: "https://a", EndpointID: "spiffe://own.example/s", CA: "x"}}, "give one of them"},
	} {
		wantError(t, CheckFederation(c.list, "own.example"), c.says)
	}
	if err := CheckFederation([]FederationConfig{{TrustDomain: "a"}, {TrustDomain: "b", URL: "https://b/x", EndpointID: "spiffe://own.example/s"}}, "own.example"); err != nil {
		t.Error(err)
	}
}
