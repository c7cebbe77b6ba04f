package cluster

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// HeaderRetried is how a Lintel tells the one it answers, over the mesh, how many
// retries those behind it have made for this request: one tier is enough. It
// never leaves the mesh.
const HeaderRetried = "X-Lintel-Retried"

// HeaderApp is how a sidecar tells a Lintel what came of its app: "unreached", it
// takes no connections, so that the request may go elsewhere, whatever it is; or
// "reset", the connection died before any answer.
const HeaderApp = "X-Lintel-App"

// OfApp is what HeaderApp says of a fault, "" for nothing.
func OfApp(f *exchange.Fault) string {
	switch {
	case NobodyThere(f):
		return appUnreached
	case f != nil && f.Source == exchange.FromUpstream && (f.Code == "reset" || f.Code == "stale-connection"):
		return appReset
	}
	return ""
}

const appUnreached, appReset = "unreached", "reset"

// GRPC is a set of gRPC status codes.
type GRPC uint32

// Has reports whether the status is in the set.
func (g GRPC) Has(code int) bool { return code > 0 && code < 32 && g&(1<<code) != 0 }

// Statuses makes a set.
func Statuses(codes ...int) (g GRPC) {
	for _, c := range codes {
		g |= 1 << c
	}
	return g
}

// again says whether the exchange may be sent again, and whether that counts
// as one of its retries.
func (r *run) again(f *exchange.Fault) (again, counts bool) {
	x, o := r.x, r.o
	if f == nil {
		again := r.failed() && r.replayable()
		switch r.app {
		case appUnreached:
			again = again || o.OnConnect && (r.untouched() || r.replayable())
		case appReset:
			again = again || o.OnReset && r.replayable() && r.twice()
		}
		return again && r.below == 0 && x.Response.Tunnel == nil, true
	}
	switch {
	case f.Source != exchange.FromUpstream || f.Code == "breaker-open" || f.Code == "no-endpoint":
		return false, false
	case f.Code == "stale-connection":
		return r.untouched() && f.Retryable || r.replayable() && r.twice(), r.free >= freeRetries
	case f.Retryable:
		return (r.untouched() || r.replayable()) && o.OnConnect, true
	case errors.Is(f.Err, errTryTimeout):
		return r.replayable() && r.twice(), true
	case f.Code == "reset":
		return r.replayable() && o.OnReset && r.twice(), true
	}
	return false, false
}

// failed reports whether the answer is one that the route retries.
func (r *run) failed() bool {
	x, o := r.x, r.o
	if slices.Contains(o.OnStatus, x.Response.Status) || o.On5xx && x.Response.Status >= 500 {
		return r.twice()
	}
	// Nothing but a status was answered, or it would be in the trailers.
	return o.OnGRPC != 0 && x.IsGRPC() && o.OnGRPC.Has(grpcStatus(x))
}

// grpcStatus is that of a trailers-only answer, 0 when there is none or it is OK.
func grpcStatus(x *exchange.Exchange) int {
	n, err := strconv.ParseUint(x.Response.Header.Get("Grpc-Status"), 10, 8)
	if err != nil {
		return 0
	}
	return int(n)
}

// twice reports whether the service takes the request twice without harm.
func (r *run) twice() bool {
	method := r.x.Request.Method
	if r.o.IdempotencyKey && r.x.Request.Header.Get("Idempotency-Key") != "" {
		return true
	}
	if r.o.Methods != nil {
		return slices.Contains(r.o.Methods, method)
	}
	return idempotent(method)
}

func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

// replayable reports whether the request body can be sent again.
func (r *run) replayable() bool { return r.replay || r.kept.whole() }

// untouched reports whether the request body is there whole for another attempt:
// none has begun to send it, or it is kept.
func (r *run) untouched() bool { return r.replay || r.upload.state.Load() == fresh }

// left is how many retries are left to this exchange by its route and by its
// callers.
func (r *run) left(made int) int {
	left := r.o.Attempts - made
	if t := r.x.Txn; t != nil && t.Retries >= 0 {
		spent := made
		if t.Spent != nil {
			spent = int(t.Spent.Load()) // made here or by other calls of the transaction
		}
		left = min(left, t.Retries-spent)
	}
	return max(left, 0)
}

// spend takes one retry from the service's budget and from the transaction's. One
// that the service's refuses counts as made with the transaction: who called must
// not make it in our place. What nobody at the address took is no load on the
// service, and going elsewhere then is what hides that an endpoint has died, a
// third of all requests perhaps: that costs nothing of the service's budget.
func (r *run) spend(f *exchange.Fault) bool {
	return r.ofPurse() && (r.app == appUnreached || NobodyThere(f) || r.c.budget.withdraw(time.Now()))
}

// purse counts the retries of a transaction that has a bound for them; nil when
// this one has none.
func (r *run) purse() *atomic.Int32 {
	if t := r.x.Txn; t != nil && t.Retries >= 0 {
		return t.Spent
	}
	return nil
}

// ofPurse takes one retry from the transaction's budget.
func (r *run) ofPurse() bool {
	p := r.purse()
	if p != nil && int(p.Add(1)) > r.x.Txn.Retries {
		p.Add(-1)
		return false
	}
	return true
}

// ofApp is a known value; what an exchange holds dies with it.
func ofApp(v string) string {
	for _, known := range []string{appUnreached, appReset} {
		if v == known {
			return known
		}
	}
	return ""
}

// NobodyThere reports a fault of an endpoint that takes no connections.
func NobodyThere(f *exchange.Fault) bool {
	if f == nil {
		return false
	}
	switch f.Code {
	case "connect-refused", "connect-failed", "unroutable":
		return f.Retryable
	}
	return false
}

// told reads what the Lintel that answered says of retries behind it. It was left
// Spare of them; one that says more would take the rest of the transaction from
// every other service.
func (r *run) told() {
	h := &r.x.Response.Header
	if v := h.Get(HeaderApp); v != "" {
		if r.x.Response.Status >= 500 {
			r.app = ofApp(v)
		}
		h.Del(HeaderApp)
	}
	v := h.Get(HeaderRetried)
	if v == "" {
		return
	}
	n, err := strconv.ParseUint(v, 10, 16)
	h.Del(HeaderRetried)
	if err != nil || n == 0 {
		return
	}
	r.below = min(int(n), r.x.Spare)
	if t := r.x.Txn; t != nil && t.Spent != nil {
		t.Spent.Add(int32(r.below))
	}
}

// pause is how long to wait before retry n: exponential with full jitter. A
// service that says Retry-After is given that time if there is nobody else to
// ask; ok is false when it wants more than MaxBackoff.
func (r *run) pause(n int, answered bool) (wait time.Duration, ok bool) {
	wait = pause(r.o, n)
	if !answered || r.elsewhere() {
		return wait, true
	}
	asked := retryAfter(r.x.Response.Header.Get("Retry-After"), time.Now())
	return max(wait, asked), asked <= r.o.MaxBackoff
}

// elsewhere reports whether there is an endpoint that has not failed yet.
func (r *run) elsewhere() bool {
	l := r.c.lineup.Load()
	for _, list := range [...][]*member{l.members, l.spare} {
		for _, m := range list {
			if m != r.serving && !r.seen.has(m) && m.available() {
				return true
			}
		}
	}
	return false
}

// retryAfter reads the field (RFC 9110 section 10.2.3); 0 when it says nothing.
func retryAfter(v string, now time.Time) time.Duration {
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// pause is exponential with full jitter.
func pause(o *Options, n int) time.Duration {
	d := max(o.Backoff, 0)
	for range min(n-1, 16) {
		d = min(2*d, o.MaxBackoff) // step by step, so it cannot overflow
	}
	return rand.N(max(min(d, o.MaxBackoff), 0) + 1)
}
