package mtls

import (
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Source holds this process's identity and the roots it trusts, and keeps
// both fresh. It is safe for concurrent use. The constructors return a Source
// only once it has an identity.
type Source interface {
	x509svid.Source
	x509bundle.Source
	// Watch returns a channel of its own that gets a signal after the identity
	// or the roots changed. Signals coalesce and are never closed; read the
	// newest state after each. stop ends the watch and may be called twice.
	Watch() (changed <-chan struct{}, stop func())
	// Status says what is held and what last went wrong.
	Status() Status
	// Close stops renewal. What was handed out stays valid until it expires.
	Close() error
}

// Status describes a Source, for admin pages and metrics. It holds no secret.
type Status struct {
	Source    string    // "workload-api", "consul" or "embedded"
	ID        string    // SPIFFE ID, "" before the first identity
	Serial    string    // the leaf's serial number, hexadecimal
	NotBefore time.Time // of the leaf
	NotAfter  time.Time // of the leaf
	Updated   time.Time // when identity or roots last changed
	Roots     int       // authorities trusted for the own trust domain
	Err       string    // the last failure since Updated, "" when all is well
	ErrAt     time.Time // when it happened
}

// Age is how long ago identity or roots last changed; 0 when never.
func (s Status) Age(now time.Time) time.Duration {
	if s.Updated.IsZero() {
		return 0
	}
	return now.Sub(s.Updated)
}

// ID returns the SPIFFE ID that src holds, expired or not.
func ID(src x509svid.Source) (spiffeid.ID, error) {
	svid, err := src.GetX509SVID()
	if err != nil {
		return spiffeid.ID{}, fmt.Errorf("mtls: no identity: %w", err)
	}
	return svid.ID, nil
}

// NotAfter returns when the identity of src expires; the zero time when it has
// none.
func NotAfter(src x509svid.Source) time.Time {
	svid, err := src.GetX509SVID()
	if err != nil {
		return time.Time{}
	}
	return svid.Certificates[0].NotAfter
}

// Retire returns a function that says when a connection opened now must no
// longer be reused: a tenth of the own leaf's life before it expires. Without
// an identity that is at once. Ask before dialling, so that a rotation in
// between can only make the answer too early.
func Retire(src x509svid.Source) func() time.Time {
	return func() time.Time {
		svid, err := src.GetX509SVID()
		if err != nil {
			return time.Now()
		}
		return retireAt(svid.Certificates[0].NotBefore, svid.Certificates[0].NotAfter)
	}
}

func retireAt(notBefore, notAfter time.Time) time.Time {
	return notAfter.Add(-notAfter.Sub(notBefore) / 10)
}
