package compose

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/listen"
	"lintel.dev/lintel/proxy/listen/acme"
	"lintel.dev/lintel/proxy/store"
)

// Edge is the TLS of one edge listener.
type Edge struct {
	Listener string
	Config   *tls.Config
	Certs    *listen.Certificates
	acme     *acme.Manager // nil without
	log      *slog.Logger
	told     sync.Map // server name → when its missing certificate was last logged
}

// toldEvery spaces the log lines about one name without a certificate.
const toldEvery = time.Minute

// EdgeTLS opens the certificates of an edge listener; plaintext says whether
// there is a listener for HTTP-01 challenges, and redis leases a connection for
// as long as the Edge is used. Close it after use.
func EdgeTLS(name string, c *config.ListenerTLS, plaintext bool, redis func(string) (*store.Redis, error), log *slog.Logger) (*Edge, error) {
	pairs := make([]listen.Pair, len(c.Certificates))
	for i, p := range c.Certificates {
		pairs[i] = listen.Pair{Cert: p.Cert, Key: p.Key}
	}
	certs, err := listen.NewCertificates(pairs, log)
	if err != nil {
		return nil, err
	}
	e := &Edge{Listener: name, Certs: certs, log: log}
	o := listen.Options{MinVersion: c.MinVersion, StrictSNI: c.StrictSNI, ClientCA: c.ClientCA, ClientAuth: c.ClientAuth}
	if c.ACME != nil {
		if e.acme, err = openACME(c.ACME, plaintext, certs, redis, log); err != nil {
			return nil, err
		}
		o.Challenge, o.Missing = e.acme.Certificate, e.missing
	}
	if e.Config, err = listen.TLSConfig(certs, o); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

func openACME(c *config.ListenerACME, plaintext bool, certs *listen.Certificates, redis func(string) (*store.Redis, error), log *slog.Logger) (*acme.Manager, error) {
	cfg := acmeConfig(c, plaintext)
	cfg.Publish, cfg.Log = certs.Manage, log
	if c.Storage.Redis != "" {
		conn, err := redis(c.Storage.Redis)
		if err != nil {
			return nil, fmt.Errorf("acme: storage: %w", err)
		}
		cfg.Shared = conn.Hash("acme")
		if cfg.Key, err = storageKey(c.Storage.Key); err != nil {
			return nil, fmt.Errorf("acme: storage: %w", err)
		}
	}
	if c.CARoot != "" {
		text, err := os.ReadFile(c.CARoot)
		if err != nil {
			return nil, fmt.Errorf("acme: ca_root: %w", err)
		}
		cfg.Roots = x509.NewCertPool()
		if !cfg.Roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("acme: ca_root %s: expected at least one PEM certificate, found none", c.CARoot)
		}
	}
	return acme.New(cfg)
}

// acmeDir is where certificates are kept when nothing is said.
const acmeDir = "/var/lib/lintel/acme"

// storageKey reads 32 bytes in hex or base64. Errors do not repeat it.
func storageKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	for _, decode := range []func(string) ([]byte, error){hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString} {
		if key, err := decode(text); err == nil && len(key) == acme.KeySize {
			return key, nil
		}
	}
	return nil, fmt.Errorf("key: expected %d bytes in hex or base64, as openssl rand -hex 32 makes them", acme.KeySize)
}

func checkStorage(c config.ACMEStorage, redis map[string]config.Redis) (key string, err error) {
	switch {
	case c.Redis == "" && c.Key != "":
		return ".key", errors.New("key encrypts what is kept in Redis: say redis too, or leave it out")
	case c.Redis == "":
		return "", nil
	case c.Dir != "":
		return ".dir", errors.New("found dir and redis: certificates are kept in one of them")
	case c.Key == "":
		return "", errors.New("key is missing: what is kept in Redis is encrypted; make one with openssl rand -hex 32")
	}
	if _, err := redisNamed(redis, c.Redis); err != nil {
		return ".redis", err
	}
	if _, err := storageKey(c.Key); err != nil {
		return ".key", err
	}
	return "", nil
}

func acmeConfig(c *config.ListenerACME, plaintext bool) acme.Config {
	var eab acme.Binding
	if c.EAB != nil {
		eab = acme.Binding{KeyID: c.EAB.KeyID, MACKey: c.EAB.MACKey}
	}
	return acme.Config{Binding: eab, Domains: c.Domains, Email: c.Email, CA: c.CA, Dir: cmp.Or(c.Storage.Dir, acmeDir),
		HTTP01: plaintext && slices.Contains(c.Challenges, "http-01"), TLSALPN: slices.Contains(c.Challenges, "tls-alpn-01")}
}

// CheckEdgeTLS finds what EdgeTLS would refuse without reading a file; key is
// where the mistake stands within the section.
func CheckEdgeTLS(c *config.ListenerTLS, plaintext bool, redis map[string]config.Redis) (key string, err error) {
	switch {
	case len(c.Certificates) == 0 && c.ACME == nil:
		return "", errors.New("tls needs certificates, acme or both")
	case c.ACME == nil:
		return "", nil
	case !c.ACME.Agreed:
		return "acme.agreed", errors.New("agreed must be true: a CA issues only to those who accept its terms of service")
	case !plaintext && !slices.Contains(c.ACME.Challenges, "tls-alpn-01"):
		return "acme.challenges", errors.New("http-01 is answered on a plaintext listener, and there is none: add one that is reached as port 80, or allow tls-alpn-01")
	}
	if key, err := checkStorage(c.ACME.Storage, redis); err != nil {
		return "acme.storage" + key, err
	}
	return "acme", acme.Check(acmeConfig(c.ACME, plaintext))
}

// missing tells of a handshake that ended for want of a certificate.
func (e *Edge) missing(serverName string) {
	name := strings.ToLower(serverName)
	if !e.acme.Wants(name) {
		return // clients may ask for any name: nobody fills the log with them
	}
	now := time.Now()
	if last, ok := e.told.Load(name); ok && now.Sub(last.(time.Time)) < toldEvery {
		return
	}
	e.told.Store(name, now)
	e.log.Warn("TLS handshake refused: the certificate has not been obtained yet", "listener", e.Listener, "server_name", name)
}

// Run keeps the certificates current until ctx ends.
func (e *Edge) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { e.Certs.Watch(ctx) })
	if e.acme != nil {
		wg.Go(func() { e.acme.Run(ctx) })
	}
	wg.Wait()
}

// Challenge answers an HTTP-01 challenge that is pending for this listener.
func (e *Edge) Challenge(host, path string) (string, bool) {
	if e.acme == nil {
		return "", false
	}
	return e.acme.Answer(host, path)
}

// ACME reports whether certificates are obtained for it.
func (e *Edge) ACME() bool { return e.acme != nil }

// Close ends what EdgeTLS has started; Run must have returned.
func (e *Edge) Close() {
	if e.acme != nil {
		e.acme.Close()
	}
}

// Checks are the readiness checks about the certificates. None is required: the
// listener serves what it has, and a CA must reach it to validate a name.
func (e *Edge) Checks() []admin.Check {
	until := e.Certs.Expiry()
	c := admin.Check{Name: "certificates " + e.Listener, OK: !until.IsZero() && time.Now().Before(until), Detail: "none"}
	if !until.IsZero() {
		c.Detail = "the first ends " + until.UTC().Format(time.RFC3339)
	}
	if err := e.Certs.Err(); err != nil {
		c.OK, c.Detail = false, c.Detail+"; not reloaded: "+err.Error()
	}
	checks := []admin.Check{c}
	if e.acme == nil {
		return checks
	}
	for _, s := range e.acme.Status() {
		c := admin.Check{Name: "acme " + e.Listener + " " + s.Domain, OK: s.Err == "" && time.Now().Before(s.NotAfter)}
		if c.Detail = "no certificate yet"; !s.NotAfter.IsZero() {
			c.Detail = "until " + s.NotAfter.UTC().Format(time.RFC3339)
		}
		if s.Err != "" {
			c.Detail += fmt.Sprintf("; tried again at %s: %s", s.Next.UTC().Format(time.RFC3339), s.Err)
		}
		checks = append(checks, c)
	}
	return checks
}

// ends is when the certificates end, by name.
func (e *Edge) ends(into map[string]time.Time) {
	e.Certs.Each(func(name string, notAfter time.Time) {
		key := e.Listener + "/" + name
		if have, ok := into[key]; !ok || notAfter.Before(have) {
			into[key] = notAfter
		}
	})
}
