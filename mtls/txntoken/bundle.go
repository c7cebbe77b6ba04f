package txntoken

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// bundleCheck is how long a removed root may still be believed by the caches.
const bundleCheck = time.Second

// bundleWatch numbers the states of a trust domain's bundle. What was verified
// under one number is not believed under another. Sources do not tell of
// changes, some change a bundle in place, so its authorities are hashed once a
// second.
type bundleWatch struct {
	src x509bundle.Source
	td  spiffeid.TrustDomain
	mu  sync.Mutex
	cur atomic.Pointer[bundleState]
}

type bundleState struct {
	gen  uint64
	sum  [sha256.Size]byte
	seen time.Time
}

// generation returns the number of the present state. It fails closed: without
// a bundle nothing verifies, not even what is cached.
func (w *bundleWatch) generation(now time.Time) (uint64, error) {
	if c := w.cur.Load(); c.fresh(now) {
		return c.gen, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.cur.Load()
	if old.fresh(now) {
		return old.gen, nil
	}
	b, err := w.src.GetX509BundleForTrustDomain(w.td)
	if err != nil {
		return 0, fmt.Errorf("txntoken: no bundle for trust domain %s: %w: %w", w.td.Name(), ErrIdentity, err)
	}
	roots := b.X509Authorities()
	if len(roots) == 0 {
		return 0, fmt.Errorf("txntoken: the bundle of trust domain %s is empty: %w", w.td.Name(), ErrIdentity)
	}
	sums := make([][]byte, len(roots))
	for i, r := range roots {
		sum := sha256.Sum256(r.Raw)
		sums[i] = sum[:]
	}
	slices.SortFunc(sums, bytes.Compare) // their order means nothing
	next := &bundleState{gen: 1, sum: sha256.Sum256(bytes.Join(sums, nil)), seen: now}
	if old != nil {
		next.gen = old.gen
		if old.sum != next.sum {
			next.gen++
		}
	}
	w.cur.Store(next)
	return next.gen, nil
}

func (s *bundleState) fresh(now time.Time) bool {
	if s == nil {
		return false
	}
	age := now.Sub(s.seen)
	return age >= 0 && age < bundleCheck
}
