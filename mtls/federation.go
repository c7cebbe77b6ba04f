package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
)

const (
	bundleLimit    = 1 << 20          // bytes of a bundle
	bundleTimeout  = 15 * time.Second // to fetch one
	defaultRefresh = 5 * time.Minute  // SPIFFE Trust Domain and Bundle, section 4.1.2, when there is no hint
	shortRefresh   = 30 * time.Second // however often the other side would like to be asked
	fileRefresh    = 5 * time.Second  // between looks at a file
)

// FederationConfig says where the bundle of a further trust domain comes from:
// a bundle endpoint (SPIFFE Federation, section 5), a file, or, when neither is
// given, the identity source itself (the Workload API's federated bundles).
type FederationConfig struct {
	TrustDomain string
	File        string        // SPIFFE bundle or PEM; with URL it is what is trusted until the endpoint has answered
	URL         string        // https
	EndpointID  string        // the endpoint's SPIFFE ID (profile https_spiffe); "" checks it as browsers do (https_web)
	CA          string        // PEM file of roots for https_web; the system's when empty
	Refresh     time.Duration // between questions; as the bundle hints when 0
}

// Federated is a Source that also knows bundles of further trust domains.
type Federated struct {
	Source
	domains map[spiffeid.TrustDomain]*foreign
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// foreign is one further trust domain. What was once read stays until
// something newer is: a partner's outage must not end the trust in it, nor keep
// this process from starting.
type foreign struct {
	cfg      FederationConfig
	td       spiffeid.TrustDomain
	endpoint spiffeid.ID
	log      *slog.Logger
	own      Source

	mu      sync.Mutex
	bundle  *spiffebundle.Bundle // nil: none yet, so nobody of it is trusted
	updated time.Time
	err     error
	logged  string
}

// FederatedDomain is the state of a further trust domain, for admin pages.
type FederatedDomain struct {
	TrustDomain string
	Roots       int // 0: nobody of it is trusted
	From        string
	Updated     time.Time // zero with the Workload API's
	Err         string
}

// CheckFederation finds what Federate would refuse without reading anything.
// own is the own trust domain, "" when it is not known yet.
func CheckFederation(list []FederationConfig, own string) error {
	seen := map[string]bool{}
	for i, c := range list {
		if _, err := newForeign(c); err != nil {
			return fmt.Errorf("mtls: federation[%d]: %w", i, err)
		}
		if seen[c.TrustDomain] {
			return fmt.Errorf("mtls: federation[%d]: trust domain %s is listed twice", i, c.TrustDomain)
		}
		if c.TrustDomain == own {
			return fmt.Errorf("mtls: federation[%d]: %s is the own trust domain, whose bundle comes with the identity", i, own)
		}
		seen[c.TrustDomain] = true
	}
	return nil
}

func newForeign(c FederationConfig) (*foreign, error) {
	f := &foreign{cfg: c}
	var err error
	if f.td, err = spiffeid.TrustDomainFromString(c.TrustDomain); err != nil || f.td.Name() != c.TrustDomain {
		return nil, fmt.Errorf("trust_domain: expected a name such as partner.example, found %q", c.TrustDomain)
	}
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "" && (c.EndpointID != "" || c.CA != ""):
		return nil, errors.New("endpoint_id and ca are about a bundle endpoint: give its url too")
	case c.URL != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil):
		return nil, fmt.Errorf("url: expected https://host/path without user information, found %q", c.URL)
	case c.EndpointID != "" && c.CA != "":
		return nil, errors.New("ca is for an endpoint with a certificate of the Web PKI (https_web), endpoint_id for one with an X.509-SVID (https_spiffe): give one of them")
	}
	if c.EndpointID != "" {
		if f.endpoint, err = parseWorkloadID(c.EndpointID); err != nil {
			return nil, fmt.Errorf("endpoint_id: %w", err)
		}
		if f.endpoint.MemberOf(f.td) && c.File == "" {
			return nil, fmt.Errorf("endpoint_id: the endpoint proves itself with the very bundle it serves, so a first one is needed: give it as file")
		}
	}
	return f, nil
}

// Federate makes src know the bundles of further trust domains too, and keeps
// them fresh until the result is closed, which closes src.
func Federate(src Source, list []FederationConfig, log *slog.Logger) (*Federated, error) {
	own, err := ID(src)
	if err != nil {
		return nil, err
	}
	if err := CheckFederation(list, own.TrustDomain().Name()); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Federated{Source: src, domains: map[spiffeid.TrustDomain]*foreign{}}
	var run context.Context
	run, s.cancel = context.WithCancel(context.Background())
	for _, c := range list {
		f, _ := newForeign(c)
		f.own, f.log = src, log.With("trust_domain", c.TrustDomain)
		s.domains[f.td] = f
		if c.File != "" {
			f.read()
		}
		if c.File != "" || c.URL != "" {
			s.wg.Go(func() { f.run(run) })
		}
	}
	return s, nil
}

// Domains lists the further trust domains, by name.
func (s *Federated) Domains() []FederatedDomain {
	var out []FederatedDomain
	for _, f := range s.domains {
		d := FederatedDomain{TrustDomain: f.td.Name(), From: f.from()}
		if b, err := s.GetX509BundleForTrustDomain(f.td); err == nil {
			d.Roots = len(b.X509Authorities())
		} else {
			d.Err = err.Error()
		}
		f.mu.Lock()
		d.Updated = f.updated
		if f.err != nil {
			d.Err = f.err.Error()
		}
		f.mu.Unlock()
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b FederatedDomain) int { return strings.Compare(a.TrustDomain, b.TrustDomain) })
	return out
}

// Names of the further trust domains, sorted.
func (s *Federated) Names() []string {
	var names []string
	for td := range maps.Keys(s.domains) {
		names = append(names, td.Name())
	}
	slices.Sort(names)
	return names
}

// GetX509BundleForTrustDomain implements x509bundle.Source. A trust domain's
// bundle comes from where the configuration says and from nowhere else.
func (s *Federated) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	f := s.domains[td]
	if f == nil || f.cfg.File == "" && f.cfg.URL == "" {
		return s.Source.GetX509BundleForTrustDomain(td)
	}
	return f.GetX509BundleForTrustDomain(td)
}

// Close implements Source.
func (s *Federated) Close() error {
	s.cancel()
	s.wg.Wait()
	return s.Source.Close()
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (f *foreign) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case td != f.td:
		return nil, fmt.Errorf("no bundle of %s here", td)
	case f.bundle == nil && f.err != nil:
		return nil, fmt.Errorf("no bundle of the federated trust domain %s yet: %w", td.Name(), f.err)
	case f.bundle == nil:
		return nil, fmt.Errorf("no bundle of the federated trust domain %s yet", td.Name())
	}
	return f.bundle.X509Bundle(), nil
}

func (f *foreign) from() string {
	switch {
	case f.cfg.URL != "":
		return f.cfg.URL
	case f.cfg.File != "":
		return f.cfg.File
	}
	return "the identity source"
}

// run keeps the bundle fresh: from the endpoint when there is one, else from
// the file.
func (f *foreign) run(ctx context.Context) {
	failures, asked := 0, false
	for {
		wait := fileRefresh
		if f.cfg.URL == "" {
			f.read()
		} else if b, err := f.fetch(ctx); ctx.Err() != nil {
			return
		} else if err != nil {
			if f.cfg.File != "" && !asked {
				f.read() // a first bundle that has been replaced is the way out
			}
			f.fail(fmt.Errorf("bundle endpoint %s: %w", f.cfg.URL, err))
			wait = time.Second << min(failures, 6)
			wait = wait/2 + rand.N(wait/2)
			failures++
		} else {
			f.set(b)
			failures, asked = 0, true
			wait = f.next(b)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// next is when to ask again: as configured, else as the bundle hints.
func (f *foreign) next(b *spiffebundle.Bundle) time.Duration {
	if f.cfg.Refresh > 0 {
		return f.cfg.Refresh
	}
	if hint, ok := b.RefreshHint(); ok && hint > 0 {
		return max(hint, shortRefresh)
	}
	return defaultRefresh
}

func (f *foreign) set(b *spiffebundle.Bundle) {
	f.mu.Lock()
	changed := f.bundle == nil || !f.bundle.Equal(b)
	f.bundle, f.updated, f.err, f.logged = b, time.Now(), nil, ""
	f.mu.Unlock()
	if changed {
		f.log.Info("federation: bundle in force", "roots", len(b.X509Authorities()), "from", f.from())
	}
}

func (f *foreign) fail(err error) {
	f.mu.Lock()
	repeated := f.logged == err.Error()
	f.err, f.logged = err, err.Error()
	none := f.bundle == nil
	f.mu.Unlock()
	if !repeated {
		f.log.Warn("federation: no new bundle; what is known stays", "known", !none, "error", err)
	}
}

// read takes the file's bundle.
func (f *foreign) read() {
	file, err := os.Open(f.cfg.File)
	if err == nil {
		defer file.Close()
		var b *spiffebundle.Bundle
		if b, err = readBundle(f.td, file); err == nil {
			f.set(b)
			return
		}
		err = fmt.Errorf("%s: %w", f.cfg.File, err)
	}
	f.fail(err)
}

// fetch asks the bundle endpoint. go-spiffe's federation.FetchBundle reads
// without bounds, follows redirects and leaves a connection behind with each
// question; what it proves and parses by is used here as well.
func (f *foreign) fetch(ctx context.Context) (*spiffebundle.Bundle, error) {
	conf, err := f.clientTLS()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, bundleTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.cfg.URL, nil)
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req) // not a Client: no redirect, no proxy, no cookie
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("expected 200, got %s", res.Status)
	}
	return readBundle(f.td, res.Body)
}

func (f *foreign) clientTLS() (*tls.Config, error) {
	if f.cfg.EndpointID != "" { // https_spiffe
		var bundles x509bundle.Source = f.own
		if f.endpoint.MemberOf(f.td) {
			bundles = f
		}
		c := tlsconfig.TLSClientConfig(bundles, tlsconfig.AuthorizeID(f.endpoint))
		c.SessionTicketsDisabled = true
		return c, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.cfg.CA != "" {
		pem, err := os.ReadFile(f.cfg.CA)
		if err != nil {
			return nil, err
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", f.cfg.CA)
		}
	}
	return c, nil
}

// readBundle takes a SPIFFE bundle (JSON) or PEM certificates. A SPIFFE bundle
// without keys means that none is trusted any more (SPIFFE Trust Domain and
// Bundle, section 4.1.3), and so it is taken.
func readBundle(td spiffeid.TrustDomain, r io.Reader) (*spiffebundle.Bundle, error) {
	data, err := io.ReadAll(io.LimitReader(r, bundleLimit+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > bundleLimit:
		return nil, fmt.Errorf("a bundle of more than %d bytes", bundleLimit)
	}
	if text := strings.TrimSpace(string(data)); strings.HasPrefix(text, "-----BEGIN") {
		b, err := x509bundle.Parse(td, data)
		if err != nil {
			return nil, err
		}
		return spiffebundle.FromX509Bundle(b), nil
	}
	return spiffebundle.Parse(td, data)
}
