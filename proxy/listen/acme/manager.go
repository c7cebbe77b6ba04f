package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// Config says which certificates are wanted, and from whom.
type Config struct {
	Domains []string       // one certificate each
	Email   string         // where the CA may write to; "" for none
	CA      string         // the directory's URL
	Roots   *x509.CertPool // who signs the CA's own HTTPS certificate; nil: the system's roots
	Binding Binding        // zero: the CA issues to anybody
	HTTP01  bool           // answer on port 80, through Answer
	TLSALPN bool           // answer on port 443, through Certificate
	Dir     string         // accounts, certificates and keys; may be shared by several processes
	Shared  KV             // where they are instead of Dir
	Key     []byte         // encrypts what is in Shared: KeySize bytes
	Publish func([]*tls.Certificate)
	Log     *slog.Logger

	times times // zero: those of production
}

// Binding ties the account to one that the CA knows (RFC 8555 section 7.3.4).
type Binding struct {
	KeyID  string
	MACKey string // base64url
}

// times are how often things are looked at and tried again.
type times struct {
	poll     time.Duration // the storage is looked at; another process may have renewed
	retry    time.Duration // first pause when the CA cannot be reached
	refused  time.Duration // first pause when the CA has said no
	longest  time.Duration
	attempt  time.Duration // one attempt takes no longer
	askAgain time.Duration // between questions for the CA's own idea of when to renew
}

// Whoever is refused five times within an hour is not served for the rest of it
// by some CAs, so that pause begins long.
var production = times{poll: 5 * time.Second, retry: 2 * time.Second, refused: time.Minute, longest: 6 * time.Hour,
	attempt: 5 * time.Minute, askAgain: 6 * time.Hour}

// Manager keeps the certificates of one listener current.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	storage certmagic.Storage
	magic   *certmagic.Config
	cache   *certmagic.Cache
	issuer  *issuer
	pending pending
	domains []*domain

	mu sync.Mutex // what of the domains Status reads
}

// Status is the state of one domain's certificate.
type Status struct {
	Domain   string
	NotAfter time.Time // zero while there is none
	Err      string    // why the last attempt failed; "" when it did not
	Next     time.Time // of the next attempt, when the last one failed
}

// New reads what the storage has and publishes it. It does not ask the CA, and
// waits two seconds at most for a store that is shared. Close the Manager after use.
func New(cfg Config) (*Manager, error) {
	if cfg.times == (times{}) {
		cfg.times = production
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := Check(cfg); err != nil {
		return nil, err
	}
	store, err := open(&cfg)
	if err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, log: cfg.Log, storage: store}
	m.pending = pending{storage: store, issuer: issuerKey(cfg.CA)}
	m.issuer = newIssuer(&cfg, store, &m.pending)
	logger := bridge(cfg.Log)
	m.cache = certmagic.NewCache(certmagic.CacheOptions{Logger: logger,
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return m.magic, nil }})
	m.magic = certmagic.New(m.cache, certmagic.Config{Storage: store, Logger: logger, DisableARI: true,
		Issuers: []certmagic.Issuer{m.issuer}, KeySource: certmagic.StandardKeyGenerator{KeyType: certmagic.P256}})
	for _, name := range cfg.Domains {
		d := &domain{name: strings.ToLower(name)}
		m.domains = append(m.domains, d)
		m.pending.names = append(m.pending.names, d.name)
		if _, err := m.load(context.Background(), d); errors.Is(err, errBroken) {
			m.log.Warn("acme: a stored certificate cannot be used; a new one is obtained", "domain", d.name, "error", err)
		} else if err != nil {
			m.log.Error("acme: the storage cannot be read; its certificate is taken as soon as it can", "domain", d.name, "error", err)
		}
	}
	m.publish()
	return m, nil
}

// open opens the storage: one that is shared is waited for, but not for long.
func open(cfg *Config) (certmagic.Storage, error) {
	if cfg.Shared == nil {
		return openStorage(cfg.Dir)
	}
	s, err := newShared(cfg.Shared, cfg.Key, cfg.Log)
	if err == nil {
		s.await(context.Background(), 2*time.Second)
	}
	return s, err
}

// Check finds what New would refuse, without touching the directory.
func Check(cfg Config) error {
	if len(cfg.Domains) == 0 {
		return errors.New("acme: no domains: name at least one")
	}
	for i, name := range cfg.Domains {
		switch {
		case strings.HasPrefix(name, "*."):
			return fmt.Errorf("acme: domain %q: a wildcard needs the challenge dns-01, which is not offered; name the hosts, or give a certificate as files", name)
		case !certmagic.SubjectQualifiesForCert(name) || certmagic.SubjectIsIP(name) || strings.ContainsAny(name, "/:@ "):
			return fmt.Errorf("acme: domain %q: expected a host name as example.com", name)
		case slices.ContainsFunc(cfg.Domains[:i], func(o string) bool { return strings.EqualFold(o, name) }):
			return fmt.Errorf("acme: domain %q is given twice", name)
		}
	}
	if u, err := url.Parse(cfg.CA); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("acme: ca %q: expected the https URL of an ACME directory", cfg.CA)
	}
	if cfg.Email != "" && (strings.Count(cfg.Email, "@") != 1 || strings.ContainsAny(cfg.Email, " ,<>?")) {
		return fmt.Errorf("acme: email %q: expected one address as admin@example.com", cfg.Email)
	}
	if b := cfg.Binding; b != (Binding{}) {
		if key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(b.MACKey, "=")); err != nil || len(key) < 16 || b.KeyID == "" {
			return errors.New("acme: eab: expected a key_id, and a mac_key of 16 bytes or more in base64url") // which is not repeated
		}
	}
	if !cfg.HTTP01 && !cfg.TLSALPN {
		return errors.New("acme: no challenge: allow tls-alpn-01, http-01 or both")
	}
	if cfg.Dir == "" && cfg.Shared == nil {
		return errors.New("acme: no directory to keep certificates and keys in")
	}
	return nil
}

// Run obtains what is missing and renews what is due until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, d := range m.domains {
		wg.Go(func() { m.tend(ctx, d) })
	}
	wg.Wait()
}

// Close ends what New has started. Run must have returned.
func (m *Manager) Close() {
	m.cache.Stop()
	m.issuer.close()
}

// Certificate is the certificate that answers a TLS-ALPN-01 challenge for a
// server name that is being validated, by this process or another that shares
// the storage; else nil.
func (m *Manager) Certificate(serverName string) *tls.Certificate {
	if !m.cfg.TLSALPN {
		return nil
	}
	cert, err := m.pending.certificate(serverName)
	if err != nil {
		m.log.Warn("acme: a challenge cannot be answered", "domain", serverName, "error", err)
	}
	if cert != nil {
		m.log.Debug("acme: answered a challenge", "domain", serverName, "challenge", "tls-alpn-01")
	}
	return cert
}

// Answer is what is to be said to a GET of path at host by whoever validates an
// HTTP-01 challenge; ok is false when no such challenge is pending. It may read
// the storage.
func (m *Manager) Answer(host, path string) (body string, ok bool) {
	if !m.cfg.HTTP01 {
		return "", false
	}
	if body, ok = m.pending.answer(host, path); ok {
		m.log.Debug("acme: answered a challenge", "domain", host, "challenge", "http-01")
	}
	return body, ok
}

// Wants reports whether a certificate for the name is managed here.
func (m *Manager) Wants(name string) bool { return slices.Contains(m.pending.names, name) }

// Status lists the domains in the order of the configuration.
func (m *Manager) Status() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Status, len(m.domains))
	for i, d := range m.domains {
		out[i] = Status{Domain: d.name}
		if d.cert != nil {
			out[i].NotAfter = d.cert.Leaf.NotAfter
		}
		if d.err != nil {
			out[i].Err, out[i].Next = d.err.Error(), d.next
		}
	}
	return out
}

// publish hands on every certificate there is.
func (m *Manager) publish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	var certs []*tls.Certificate
	for _, d := range m.domains {
		if d.cert != nil {
			certs = append(certs, d.cert)
		}
	}
	if m.cfg.Publish != nil {
		m.cfg.Publish(certs)
	}
}
