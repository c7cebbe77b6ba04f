package mtls

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Defaults of the embedded CA.
const (
	DefaultTrustDomain = "lintel.local"
	DefaultTTL         = time.Hour
	defaultPoll        = time.Second
	rootLife           = 10 * 365 * 24 * time.Hour
)

// CAConfig describes an embedded CA.
type CAConfig struct {
	Dir         string        // shared by the processes of one host; "" keeps the CA in memory
	TrustDomain string        // DefaultTrustDomain
	TTL         time.Duration // a leaf's life, at least 1 s; DefaultTTL
	Log         *slog.Logger

	poll time.Duration // how often Dir is looked at
}

// CA is a small certificate authority for development and the demo: its key
// lies unencrypted in memory or a directory, nothing is revoked or audited.
type CA struct {
	notifier // told when the signing root or the trusted roots change
	cfg      CAConfig
	td       spiffeid.TrustDomain
	dir      *caDir // nil: in memory
	log      *slog.Logger

	mu    sync.Mutex
	roots []caRoot // oldest first

	view   atomic.Pointer[caView]
	cancel context.CancelFunc
	done   chan struct{}
}

// caRoot is one root with its key. A new root is trusted first and signs only
// from signsFrom on, when every process has had the time to see it.
type caRoot struct {
	cert      *x509.Certificate
	key       crypto.Signer
	signsFrom time.Time
	retiresAt time.Time // zero: not before a rotation says so
}

// caView is what the roots mean at one moment.
type caView struct {
	signer caRoot
	bundle []*x509.Certificate
}

// OpenCA opens the CA in cfg.Dir, making it if there is none, or makes one in
// memory. Several processes may open one directory at once. It warns in the
// log that this is not for production.
func OpenCA(cfg CAConfig) (*CA, error) {
	if cfg.TrustDomain == "" {
		cfg.TrustDomain = DefaultTrustDomain
	}
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	if cfg.poll == 0 {
		cfg.poll = defaultPoll
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.TTL < time.Second {
		return nil, fmt.Errorf("mtls: embedded CA: leaf TTL %s is below one second, the resolution of certificates", cfg.TTL)
	}
	td, err := spiffeid.TrustDomainFromString(cfg.TrustDomain)
	if err != nil {
		return nil, fmt.Errorf("mtls: embedded CA: trust domain %q: %w", cfg.TrustDomain, err)
	}
	c := &CA{cfg: cfg, td: td, log: cfg.Log, done: make(chan struct{})}
	if err := c.open(); err != nil {
		return nil, fmt.Errorf("mtls: embedded CA: %w", err)
	}
	where := "memory"
	if cfg.Dir != "" {
		where = cfg.Dir
	}
	c.log.Warn("EMBEDDED CA: FOR DEVELOPMENT AND THE DEMO ONLY. Its key is kept unencrypted and whoever may open an identity's socket "+
		"is that identity. Use identity.source workload-api (SPIRE) or consul in production.", "kept_in", where, "trust_domain", td.Name())
	c.refresh(time.Now())
	run, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go c.run(run)
	return c, nil
}

func (c *CA) open() error {
	if c.cfg.Dir == "" {
		root, err := newRoot(c.td, time.Now())
		c.roots = []caRoot{root}
		return err
	}
	dir, err := openCADir(c.cfg.Dir)
	if err != nil {
		return err
	}
	c.dir = dir
	c.roots, err = dir.loadOrCreate(c.td)
	return err
}

// Close stops looking after the directory. Servers made from the CA must be
// closed before.
func (c *CA) Close() error {
	c.cancel()
	<-c.done
	return nil
}

// TrustDomain is the name of the CA's trust domain.
func (c *CA) TrustDomain() string { return c.td.Name() }

func (c *CA) run(ctx context.Context) {
	defer close(c.done)
	tick := time.NewTicker(c.cfg.poll)
	defer tick.Stop()
	var last string
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.reload(); err != nil {
			if err.Error() != last {
				last = err.Error()
				c.log.Error("embedded CA: its directory cannot be read, keeping the roots already known", "error", err)
			}
		} else {
			last = ""
		}
		c.refresh(time.Now())
	}
}

// reload takes over what another process changed in the directory.
func (c *CA) reload() error {
	if c.dir == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	roots, changed, err := c.dir.reload(c.td)
	if err == nil && changed {
		c.roots = roots
	}
	return err
}

// refresh works out what the roots mean now and tells whom it concerns.
func (c *CA) refresh(now time.Time) {
	c.mu.Lock()
	v := viewOf(c.roots, now)
	old := c.view.Load()
	same := old != nil && old.signer.cert.Equal(v.signer.cert) &&
		slices.EqualFunc(old.bundle, v.bundle, (*x509.Certificate).Equal)
	if !same {
		c.view.Store(v)
	}
	c.mu.Unlock()
	if same {
		return
	}
	c.notify()
	if old != nil {
		c.log.Info("embedded CA: roots changed", "trusted", len(v.bundle), "signing_root", serial(v.signer.cert.SerialNumber))
	}
}

func viewOf(roots []caRoot, now time.Time) *caView {
	v := &caView{signer: roots[0]}
	for _, r := range roots {
		if !r.signsFrom.After(now) {
			v.signer = r
		}
		if r.retiresAt.IsZero() || r.retiresAt.After(now) {
			v.bundle = append(v.bundle, r.cert)
		}
	}
	return v
}

// RotateRoot makes a new root. It is trusted at once, signs once every process
// that shares the CA has had time to see it (three looks at the directory),
// and the roots before it stay trusted for overlap after that. overlap is at
// least the leaf TTL, so that no leaf in use outlives its root.
func (c *CA) RotateRoot(overlap time.Duration) error {
	if overlap < c.cfg.TTL {
		return fmt.Errorf("mtls: embedded CA: overlap %s is shorter than the leaf TTL %s: leaves in use would lose their root", overlap, c.cfg.TTL)
	}
	now := time.Now()
	add := func(roots []caRoot) ([]caRoot, error) {
		if newest := roots[len(roots)-1]; newest.signsFrom.After(now) {
			return nil, fmt.Errorf("a rotation is under way: the newest root signs from %s", newest.signsFrom.Format(time.RFC3339))
		}
		next, err := newRoot(c.td, now)
		if err != nil {
			return nil, err
		}
		next.signsFrom = now.Add(3 * c.cfg.poll)
		kept := make([]caRoot, 0, len(roots)+1)
		for _, r := range roots {
			if r.retiresAt.IsZero() {
				r.retiresAt = next.signsFrom.Add(overlap)
			}
			if r.retiresAt.After(now) {
				kept = append(kept, r)
			}
		}
		return append(kept, next), nil
	}
	if err := c.change(add); err != nil {
		return fmt.Errorf("mtls: embedded CA: rotate root: %w", err)
	}
	c.refresh(now)
	return nil
}

func (c *CA) change(f func([]caRoot) ([]caRoot, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var roots []caRoot
	var err error
	if c.dir != nil {
		roots, err = c.dir.update(c.td, f)
	} else {
		roots, err = f(c.roots)
	}
	if err == nil {
		c.roots = roots
	}
	return err
}
