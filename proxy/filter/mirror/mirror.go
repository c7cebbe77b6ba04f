package mirror

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Header marks a copy. The firewall takes it off what clients send.
const Header = "X-Lintel-Mirror"

// Config is what is copied.
type Config struct {
	Service     string // that gets the copies, for explain
	Share       float64
	Methods     []string
	MaxInFlight int
	MaxBody     int64
	Bare        bool                       // copies have no Authorization, no cookies and no Client-Cert
	Strip       []func(*exchange.Exchange) // and nothing of what these take off
	Counts      *Counts
}

// Counts are a route's copies. They outlive tables.
type Counts struct {
	Route, Service string

	InFlight         atomic.Int64
	OK, Failed       atomic.Uint64 // of those that were begun
	Busy, Large, Cut atomic.Uint64 // not sent: too many at once, too large a body, one that did not arrive whole
}

// Filter begins copies. It stands at a route's end, so that a copy is what the
// service itself gets, with Hold right behind it.
type Filter struct{ cfg Config }

// New checks cfg.
func New(cfg Config) (*Filter, error) {
	for _, m := range cfg.Methods {
		if m == "" || strings.ToUpper(m) != m {
			return nil, filter.Errorf("mirror.methods", "found %q, want a method's name, which are in capitals, as POST", m)
		}
	}
	return &Filter{cfg}, nil
}

// reason is why an exchange is not copied, as far as it is the reason itself; zero
// when it may be.
type reason uint8

const (
	_ reason = iota
	otherProtocol
	otherMethod
	largeBody
)

func (f *Filter) declines(x *exchange.Exchange) reason {
	switch r := &x.Request; {
	case r.Upgrade != "":
		return otherProtocol
	case !slices.Contains(f.cfg.Methods, r.Method):
		return otherMethod
	case r.Body != nil && r.Length > f.cfg.MaxBody:
		return largeBody
	}
	return 0
}

// OnRequest begins a copy of x now and then.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	r, why := &x.Request, f.declines(x)
	if x.Shadow || x.Again == nil || why != 0 && why != largeBody || f.cfg.Share < 1 && rand.Float64() >= f.cfg.Share {
		return filter.Next
	}
	n := f.cfg.Counts
	if why == largeBody {
		n.Large.Add(1)
		return filter.Next
	}
	if n.InFlight.Add(1) > int64(f.cfg.MaxInFlight) {
		n.InFlight.Add(-1)
		n.Busy.Add(1)
		return filter.Next
	}
	var c *copied
	if r.Body != nil && r.Length != 0 {
		c = &copied{most: f.cfg.MaxBody, length: r.Length, over: make(chan struct{})}
	}
	if !x.Again(x, func(y *exchange.Exchange) { f.prepare(y, c) }) {
		n.InFlight.Add(-1)
		n.Busy.Add(1)
		return filter.Next
	}
	if c != nil {
		r.Body = &tee{ReadCloser: r.Body, copy: c}
		x.Keep(c)
	}
	return filter.Next
}

// second marks an exchange as the copy.
type second struct{}

// bare is what carries credentials on any route; the last two are RFC 9440's.
var bare = [...]string{"Authorization", "Cookie", "Client-Cert", "Client-Cert-Chain"}

func (f *Filter) prepare(y *exchange.Exchange, c *copied) {
	y.Mirror = true
	if f.cfg.Bare {
		for _, off := range f.cfg.Strip {
			off(y)
		}
		for _, name := range bare {
			y.Request.Header.Del(name)
		}
	}
	y.Request.Header.Set(Header, "1")
	if c != nil {
		y.Request.Body, y.Request.Length = c, c.length
	}
	y.Keep(second{})
}

// Done tells the copy that no more of the body comes, or counts the copy.
func (f *Filter) Done(x *exchange.Exchange) {
	switch kept := x.Kept().(type) {
	case *copied:
		kept.finish(errCut)
	case second:
		n := f.cfg.Counts
		n.InFlight.Add(-1)
		switch {
		case x.Fault != nil && errors.Is(x.Fault.Err, errLarge):
			n.Large.Add(1)
		case x.Fault != nil && errors.Is(x.Fault.Err, errCut):
			n.Cut.Add(1)
		case x.Fault != nil || x.Response.Status >= http.StatusInternalServerError:
			n.Failed.Add(1)
		default:
			n.OK.Add(1)
		}
	}
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	s := fmt.Sprintf("copies %g%% of %s to %s", 100*f.cfg.Share, strings.Join(f.cfg.Methods, ", "), f.cfg.Service)
	if f.cfg.Bare {
		s += ", without credentials"
	}
	return s
}

// Account implements filter.Accounter.
func (f *Filter) Account(x *exchange.Exchange) string {
	switch f.declines(x) {
	case otherProtocol:
		return "not copied: it asks for another protocol"
	case otherMethod:
		return "not copied: only " + strings.Join(f.cfg.Methods, ", ")
	case largeBody:
		return fmt.Sprintf("not copied: its body is longer than max_body, %d bytes", f.cfg.MaxBody)
	}
	s := fmt.Sprintf("copied with a chance of %g%%", 100*f.cfg.Share)
	if x.Request.Length < 0 {
		s += fmt.Sprintf(", if its body has no more than %d bytes", f.cfg.MaxBody)
	}
	if f.cfg.Bare {
		return s + ", without credentials"
	}
	return s + ", with the credentials that the route forwards"
}

// Hold keeps a copy back until the body it needs has passed.
type Hold struct{}

// OnRequest lets whatever is no copy pass at once.
func (Hold) OnRequest(x *exchange.Exchange) filter.Verdict {
	c, ok := x.Request.Body.(*copied)
	if !x.Mirror || !ok {
		return filter.Next
	}
	err := x.Await(func(ctx context.Context) error {
		select {
		case <-c.over:
			return c.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	if err != nil {
		return filter.Refuse(&exchange.Fault{Source: exchange.FromSelf, Status: http.StatusServiceUnavailable, Code: "not-mirrored",
			Title: "Not mirrored", Err: err})
	}
	x.Request.Body, x.Request.Length = exchange.NewBody(c.bytes), int64(len(c.bytes))
	return filter.Next
}
