package mtls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// DefaultWait bounds how long a constructor waits for the first identity.
const DefaultWait = 30 * time.Second

var errNoIdentity = errors.New("none has been received yet")

// held is what every Source shares: the newest identity and bundles, the last
// failure, and who wants to know of changes.
type held struct {
	notifier
	kind string
	log  *slog.Logger
	tell func(string) // what is awaited and why it has not come; may be nil

	ready chan struct{} // closed with the first identity

	state   sync.RWMutex
	svid    *x509svid.SVID
	bundles x509bundle.Source
	updated time.Time
	err     error
	errAt   time.Time
}

func newHeld(kind string, log *slog.Logger) *held {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &held{kind: kind, log: log.With("identity_source", kind), ready: make(chan struct{})}
}

// set stores a new identity and bundles and wakes the watchers. trouble, which
// may be nil, is what nevertheless went wrong.
func (h *held) set(svid *x509svid.SVID, bundles x509bundle.Source, trouble error) {
	h.state.Lock()
	first := h.svid == nil
	renewed := first || !h.svid.Certificates[0].Equal(svid.Certificates[0])
	h.svid, h.bundles, h.updated = svid, bundles, time.Now()
	h.err, h.errAt = nil, time.Time{}
	h.state.Unlock()
	if first {
		close(h.ready)
	}
	if renewed {
		leaf := svid.Certificates[0]
		h.log.Info("identity received", "id", svid.ID.String(), "serial", serial(leaf.SerialNumber),
			"not_after", leaf.NotAfter)
	}
	if trouble != nil {
		h.fail(trouble)
	}
	h.notify()
}

// fail records a failure; what is held stays. A failure that repeats is logged
// once.
func (h *held) fail(err error) {
	h.state.Lock()
	repeated := h.err != nil && h.err.Error() == err.Error()
	h.err, h.errAt = err, time.Now()
	h.state.Unlock()
	if !repeated {
		h.log.Warn("identity source failed, keeping what is held", "error", err)
	}
}

// await waits for the first identity until ctx ends or wait has passed.
func (h *held) await(ctx context.Context, wait time.Duration, awaited, advice string) error {
	if wait <= 0 {
		wait = DefaultWait
	}
	start := time.Now()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	h.log.Info("waiting for an identity", "from", awaited, "at_most", wait)
	for ticks, waiting := 0, true; waiting; {
		if h.tell != nil {
			h.tell(fmt.Sprintf("waiting for %s: %v", awaited, h.lastErr()))
		}
		select {
		case <-h.ready:
			return nil
		case <-tick.C:
			if ticks++; ticks%5 == 0 {
				h.log.Warn("still waiting for an identity", "from", awaited, "since", time.Since(start).Round(time.Second), "because", h.lastErr())
			}
		case <-timer.C:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	last := h.lastErr()
	err := fmt.Errorf("mtls: waited %s for an identity from %s: %w; %s",
		time.Since(start).Round(time.Millisecond), awaited, last, advice)
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("%w (stopped waiting: %w)", err, cause)
	}
	return err
}

// lastErr is why there is nothing new, or that there has been nothing at all.
func (h *held) lastErr() error {
	h.state.RLock()
	defer h.state.RUnlock()
	if h.err == nil {
		return errNoIdentity
	}
	return h.err
}

// GetX509SVID implements x509svid.Source.
func (h *held) GetX509SVID() (*x509svid.SVID, error) {
	h.state.RLock()
	defer h.state.RUnlock()
	if h.svid == nil {
		return nil, errNoIdentity
	}
	return h.svid, nil
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (h *held) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	h.state.RLock()
	bundles := h.bundles
	h.state.RUnlock()
	if bundles == nil {
		return nil, errNoIdentity
	}
	return bundles.GetX509BundleForTrustDomain(td)
}

// Watch implements Source.
func (h *held) Watch() (<-chan struct{}, func()) { return h.watch() }

// Status implements Source.
func (h *held) Status() Status {
	h.state.RLock()
	defer h.state.RUnlock()
	s := Status{Source: h.kind, Updated: h.updated, ErrAt: h.errAt}
	if h.err != nil {
		s.Err = h.err.Error()
	}
	if h.svid == nil {
		return s
	}
	leaf := h.svid.Certificates[0]
	s.ID, s.Serial = h.svid.ID.String(), serial(leaf.SerialNumber)
	s.NotBefore, s.NotAfter = leaf.NotBefore, leaf.NotAfter
	if b, err := h.bundles.GetX509BundleForTrustDomain(h.svid.ID.TrustDomain()); err == nil {
		s.Roots = len(b.X509Authorities())
	}
	return s
}
