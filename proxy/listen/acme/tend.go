package acme

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// domain is one name and its certificate.
type domain struct {
	name     string
	modified time.Time // of the certificate in the storage
	size     int64

	// What Status reads, under the Manager's lock.
	cert *tls.Certificate
	err  error
	next time.Time // not before then

	failures int
	asked    time.Time // when the CA was last asked when to renew
	suggests time.Time // what it said; zero when it did not
}

// tend keeps one domain's certificate current until ctx ends.
func (m *Manager) tend(ctx context.Context, d *domain) {
	for {
		m.step(ctx, d)
		t := time.NewTimer(jitter(m.cfg.times.poll))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// step takes what another process has obtained, or obtains it, when it is time.
func (m *Manager) step(ctx context.Context, d *domain) {
	_ = m.reload(ctx, d) // logged; obtain says it again when it matters
	if d.cert != nil {
		m.ask(ctx, d)
	}
	now := time.Now()
	if !due(d, now) || now.Before(d.next) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.times.attempt)
	defer cancel()
	err := m.obtain(ctx, d)
	if errors.Is(ctx.Err(), context.Canceled) {
		return // the process ends
	}
	if err != nil {
		m.failed(d, err)
		return
	}
	m.log.Info("acme: certificate obtained", "domain", d.name, "until", d.cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
}

// obtain gets a certificate that is better than the one at hand. Others that
// share the storage are kept out meanwhile, and what they have obtained before
// is taken.
func (m *Manager) obtain(ctx context.Context, d *domain) error {
	lock := "tend_" + d.name
	if err := m.storage.Lock(ctx, lock); err != nil {
		return unread{err}
	}
	defer func() { _ = m.storage.Unlock(ctx, lock) }()
	had := d.cert
	err := m.reload(ctx, d)
	bad := errors.Is(err, errBroken)
	switch {
	case d.cert != had && !due(d, time.Now()):
		return nil
	case bad:
		// It was read and is no use, and nobody is writing it: the lock is ours.
		err = m.storage.Delete(ctx, certmagic.StorageKeys.CertsSitePrefix(m.issuer.IssuerKey(), d.name))
	}
	if err != nil {
		// What could not be read may be good: it is neither deleted nor replaced.
		return unread{err}
	}
	if d.cert == nil || bad {
		err = m.magic.ObtainCertSync(ctx, d.name)
	} else {
		err = m.magic.RenewCertSync(ctx, d.name, true) // obtains, when the storage has lost it
	}
	if err != nil {
		return err
	}
	changed, err := m.load(ctx, d)
	if err != nil {
		return fmt.Errorf("acme: the new certificate cannot be used: %w", err)
	}
	if changed {
		m.publish()
	}
	return nil
}

// errBroken is a certificate or key that was read and is of no use.
var errBroken = errors.New("acme: the stored certificate is broken")

// unread is a failure of the storage before the CA was asked for anything.
type unread struct{ error }

// Unwrap returns what the storage said.
func (u unread) Unwrap() error { return u.error }

// reload takes what the storage has, if that is new and good.
func (m *Manager) reload(ctx context.Context, d *domain) error {
	changed, err := m.load(ctx, d)
	switch {
	case err != nil:
		// Its parts may have been caught between their two writes.
		m.log.Debug("acme: stored certificate not taken", "domain", d.name, "error", err)
	case changed:
		m.log.Info("acme: certificate taken from the storage", "domain", d.name, "until", d.cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
		m.publish()
	}
	return err
}

// load reads the certificate if it is another than before. The error is
// errBroken when it could be read and cannot be used.
func (m *Manager) load(ctx context.Context, d *domain) (changed bool, err error) {
	keys, issuer := certmagic.StorageKeys, m.issuer.IssuerKey()
	info, err := m.storage.Stat(ctx, keys.SiteCert(issuer, d.name))
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Modified.Equal(d.modified) && info.Size == d.size {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	chain, err := m.storage.Load(ctx, keys.SiteCert(issuer, d.name))
	if err != nil {
		return false, err
	}
	key, err := m.storage.Load(ctx, keys.SitePrivateKey(issuer, d.name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("%w: %w", errBroken, err)
	}
	if err != nil {
		return false, err
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err == nil {
		err = cert.Leaf.VerifyHostname(d.name)
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", errBroken, err)
	}
	d.modified, d.size = info.Modified, info.Size
	d.asked, d.suggests = time.Time{}, time.Time{}
	m.mu.Lock()
	d.failures = 0
	d.cert, d.err, d.next = &cert, nil, time.Time{}
	m.mu.Unlock()
	return true, nil
}

// due says whether a certificate is wanted: there is none, a third of its life
// is left, or the CA's suggested time has come (RFC 9773).
func due(d *domain, now time.Time) bool {
	if d.cert == nil {
		return true
	}
	leaf := d.cert.Leaf
	latest := leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3)
	return now.After(latest) || !d.suggests.IsZero() && now.After(d.suggests)
}

// ask lets the CA say when it wants the certificate renewed, which is earlier
// than usual when it has to revoke it. A CA that has nothing to say is no error.
func (m *Manager) ask(ctx context.Context, d *domain) {
	if time.Since(d.asked) < m.cfg.times.askAgain {
		return
	}
	d.asked = time.Now()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	info, err := m.issuer.client().GetRenewalInfo(ctx, d.cert.Leaf)
	if err != nil {
		m.log.Debug("acme: the CA does not say when to renew", "domain", d.name, "error", err)
		return
	}
	d.suggests = info.SelectedTime
}

// failed keeps the error and the time of the next attempt.
func (m *Manager) failed(d *domain, err error) {
	first := m.cfg.times.retry
	if strings.Contains(err.Error(), "saving assets") { // certmagic's, and all there is to know it by
		first = m.cfg.times.refused // the CA counts certificates, also those that were not kept
	}
	var p acme.Problem
	if errors.As(err, &p) {
		first = m.cfg.times.refused
		if p.Type == acme.ProblemTypeRateLimited {
			first *= 60
		}
	}
	longest := m.cfg.times.longest
	if errors.As(err, new(unread)) {
		longest = min(longest, m.cfg.times.refused) // no CA was troubled
	}
	pause := jitter(min(first<<min(d.failures, 20), longest))
	m.log.Error("acme: no certificate obtained", "domain", d.name, "error", err, "attempt", d.failures+1, "next_in", pause.Round(time.Second))
	m.mu.Lock()
	d.failures++
	d.err, d.next = err, time.Now().Add(pause)
	m.mu.Unlock()
}

// jitter is d, give or take a fifth.
func jitter(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5+1)
}
