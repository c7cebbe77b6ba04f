package listen

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// pollEvery is how often the files are looked at. Polling also sees what
// watches miss: Kubernetes' symlink swaps and network file systems.
const pollEvery = 2 * time.Second

// maxFile bounds certificate, key and CA files.
const maxFile = 1 << 20

// Pair names the files of one certificate.
type Pair struct {
	Cert string // PEM, the leaf first, then its intermediates
	Key  string // PEM
}

// Certificates are the certificates of a listener, chosen by SNI: those of its
// files, then those that somebody else keeps current.
type Certificates struct {
	pairs []Pair
	log   *slog.Logger
	cur   atomic.Pointer[certSet]

	clientCA string // PEM file of CAs for client certificates, "" when none are asked for

	mu       sync.Mutex // one reload at a time
	stamps   []stamp
	managed  []*tls.Certificate
	failed   error
	reloads  atomic.Int64
	failures atomic.Int64
}

// certSet is one generation, immutable.
type certSet struct {
	files    []*tls.Certificate
	list     []*tls.Certificate // the files', then the managed
	exact    map[string][]*tls.Certificate
	wildcard map[string][]*tls.Certificate // by the part after "*."
	clients  *x509.CertPool                // CAs of client certificates
	trust    [sha256.Size]byte             // over the file they are from
	sum      [sha256.Size]byte
}

// NewCertificates reads every pair now. Watch keeps them current; a nil log
// discards. Without pairs there is no certificate until Manage brings one.
func NewCertificates(pairs []Pair, log *slog.Logger) (*Certificates, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Certificates{pairs: slices.Clone(pairs), log: log}
	// The stamps are taken first: a change while the files are read is seen by
	// the next poll.
	c.stamps = c.look()
	set, err := c.read()
	if err != nil {
		return nil, err
	}
	c.cur.Store(set)
	return c, nil
}

// Watch reloads the certificates whenever their files change, until ctx ends.
// A reload that fails keeps what was there and is logged.
func (c *Certificates) Watch(ctx context.Context) { c.watch(ctx, pollEvery) }

// Reload reads the files again. On an error the old certificates stay.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stamps = c.look()
	return c.reload()
}

func (c *Certificates) reload() error {
	set, err := c.read()
	if err != nil {
		c.failures.Add(1)
		if c.failed == nil || c.failed.Error() != err.Error() {
			c.log.Error("certificates not reloaded, the old ones stay", "err", err)
		}
		c.failed = err
		return err
	}
	c.failed = nil
	if set.sum != c.cur.Load().sum {
		c.cur.Store(set.with(c.managed))
		c.reloads.Add(1)
		c.log.Info("certificates reloaded", "certificates", len(set.list), "earliest_expiry", set.expiry())
	}
	return nil
}

func (c *Certificates) watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.poll()
		}
	}
}

// poll reloads when a file looks different, or when the last reload failed:
// a pair may have been caught between its two writes.
func (c *Certificates) poll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.look()
	if c.failed == nil && slices.Equal(now, c.stamps) {
		return
	}
	c.stamps = now
	_ = c.reload() // logged there
}

// stamp is what a file looks like from outside.
type stamp struct {
	mtime time.Time
	size  int64
	ok    bool
}

func (c *Certificates) look() []stamp {
	stamps := make([]stamp, 0, 2*len(c.pairs)+1)
	add := func(path string) {
		info, err := os.Stat(path)
		if err != nil {
			stamps = append(stamps, stamp{})
			return
		}
		stamps = append(stamps, stamp{info.ModTime(), info.Size(), true})
	}
	for _, p := range c.pairs {
		add(p.Cert)
		add(p.Key)
	}
	if c.clientCA != "" {
		add(c.clientCA)
	}
	return stamps
}

// Manage replaces the certificates that come from no file. Handshakes from now
// on see them; connections stay as they are.
func (c *Certificates) Manage(certs []*tls.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.managed = slices.Clone(certs)
	c.cur.Store(c.cur.Load().with(c.managed))
}

// Expiry says when the first of the certificates expires; zero when there is
// none.
func (c *Certificates) Expiry() time.Time { return c.cur.Load().expiry() }

// Each calls f with the first name and the end of every certificate.
func (c *Certificates) Each(f func(name string, notAfter time.Time)) {
	for _, cert := range c.cur.Load().list {
		f(nameOf(cert.Leaf), cert.Leaf.NotAfter)
	}
}

// Err is why the files were not taken the last time they were read; nil when
// they were.
func (c *Certificates) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// Reloads counts reloads that changed something and those that failed.
func (c *Certificates) Reloads() (changed, failed int64) { return c.reloads.Load(), c.failures.Load() }

// Names lists the names the certificates cover, sorted.
func (c *Certificates) Names() []string {
	set := c.cur.Load()
	var names []string
	for n := range set.exact {
		names = append(names, n)
	}
	for n := range set.wildcard {
		names = append(names, "*."+n)
	}
	slices.Sort(names)
	return names
}

// choose finds the certificate for a handshake: an exact name, then a wildcard
// one level up, then the first certificate, or none when strict. Among several
// for a name it takes the first the client supports (ECDSA next to RSA).
func (c *Certificates) choose(hello *tls.ClientHelloInfo, strict bool) (*tls.Certificate, error) {
	set := c.cur.Load()
	name := strings.TrimSuffix(strings.ToLower(hello.ServerName), ".")
	found := set.exact[name]
	if found == nil {
		if _, parent, ok := strings.Cut(name, "."); ok {
			found = set.wildcard[parent]
		}
	}
	if found == nil {
		if strict {
			return nil, fmt.Errorf("listen: no certificate for server name %q, and unknown names are refused here", hello.ServerName)
		}
		if len(set.list) == 0 {
			return nil, fmt.Errorf("listen: no certificate yet, for server name %q or any other", hello.ServerName)
		}
		found = set.list[:1]
	}
	for _, cert := range found {
		if hello.SupportsCertificate(cert) == nil {
			return cert, nil
		}
	}
	return found[0], nil
}
