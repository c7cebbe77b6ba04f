package cluster

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Options are a route's terms for forwarding.
type Options struct {
	Timeout    time.Duration // until the answer's head, retries included; 0 is unlimited
	Attempts   int           // further attempts after the first
	OnConnect  bool          // retry when no connection could be had
	OnReset    bool          // retry when the connection died before any answer
	OnStatus   []int         // retry on these statuses
	Backoff    time.Duration // first pause
	MaxBackoff time.Duration // longest pause
	BufferBody int64         // bodies up to this many bytes are kept for a retry
}

// errTimeout is the cancellation cause when Options.Timeout has passed.
var errTimeout = errors.New("cluster: timed out")

// freeRetries is how often a dead keep-alive connection is replaced without
// counting as a retry: the service never saw those requests.
const freeRetries = 2

// Forward sends x to an endpoint and fills x.Response with the answer's head
// and its streaming body. It returns why that was not possible.
func (c *Cluster) Forward(x *exchange.Exchange, o *Options) *exchange.Fault {
	c = c.serving()
	x.Service = c.cfg.Service
	r := newRun()
	r.c, r.x, r.o = c, x, o
	x.OnDone(r.over)
	left, limited := r.terms()
	if !limited {
		return r.loop()
	}
	if left <= 0 {
		return timeoutFault(c.cfg.Service, "the caller's deadline had passed")
	}
	x.Expire(left, errTimeout)
	fault := r.loop()
	if !x.Unexpire() && fault == nil {
		// The head came just too late: the exchange is cancelled or about to
		// be, which would cut the body.
		fault = timeoutFault(c.cfg.Service, "no answer in time")
	}
	return fault
}

// loop makes attempts until one succeeds or there is no further.
func (r *run) loop() *exchange.Fault {
	x := r.x
	if fault := r.keepBody(); fault != nil {
		return fault
	}
	attempts := r.o.Attempts
	if x.Txn != nil && x.Txn.Retries >= 0 {
		attempts = min(attempts, x.Txn.Retries)
	}
	for n := 0; ; {
		x.Spare = attempts - n
		fault := r.once()
		again, counts := r.again(fault)
		var wait time.Duration
		switch {
		case !again, x.Ended() != nil, counts && n >= attempts:
			return fault
		case !counts:
			r.free++
		default:
			n++
			// What there is now is better than a certain timeout.
			if wait = pause(r.o, n); !x.Deadline.IsZero() && time.Until(x.Deadline) <= wait {
				return fault
			}
		}
		r.drop()
		if wait > 0 {
			if err := x.Sleep(wait); err != nil {
				return r.explain(fault)
			}
		}
		rewind(x)
	}
}

// drop gives up the attempt's answer in favour of another attempt, elsewhere
// if there is an elsewhere.
func (r *run) drop() {
	if r.serving != nil {
		r.seen.add(r.serving)
	}
	r.x.DropResponse()
	r.release()
}

// terms says how long this exchange may still take.
func (r *run) terms() (time.Duration, bool) {
	x, o, now := r.x, r.o, since(r.x.Start)
	r.now = now
	if o.Timeout > 0 {
		x.Deadline = now.Add(o.Timeout)
	}
	if x.Txn != nil && !x.Txn.Deadline.IsZero() && (x.Deadline.IsZero() || x.Txn.Deadline.Before(x.Deadline)) {
		x.Deadline, r.hurried = x.Txn.Deadline, true
	}
	return x.Deadline.Sub(now), !x.Deadline.IsZero()
}

// once makes one attempt through the breaker.
func (r *run) once() *exchange.Fault {
	r.fault = nil
	if f := r.c.breaker.do(r.c.cfg.Service, r.try); f != nil {
		return f
	}
	return r.fault
}

// attempt picks an endpoint and sends the request. What it returns is for the
// breaker; the fault for the client is left in r.fault.
func (r *run) attempt() (struct{}, error) {
	c, x := r.c, r.x
	lineup := c.lineup.Load()
	if len(lineup.members) == 0 {
		r.fault = &exchange.Fault{
			Source: exchange.FromUpstream, Status: http.StatusServiceUnavailable, Code: "no-endpoint",
			Title: "No endpoint is healthy", Detail: "service " + c.cfg.Service + " has no healthy endpoint",
			RetryAfter: time.Second, Proxy: "destination_unavailable",
		}
		return struct{}{}, errNotItsFault
	}
	m := r.choose(lineup)
	x.Endpoint = m.Address
	x.Attempts++
	if x.Sent, r.now = r.now, (time.Time{}); x.Sent.IsZero() {
		x.Sent = since(x.Start)
	}
	x.Answered = time.Time{}
	m.busy.Add(1)
	c.inHand.Add(1)
	r.serving = m
	if err := r.send(m); err != nil {
		r.release()
		r.seen.add(m)
		r.fault = r.explain(asFault(err))
		if r.fault.Source != exchange.FromUpstream || r.hurried && r.fault.Code == "timeout" {
			return struct{}{}, errNotItsFault // a caller in a hurry says nothing about the service
		}
		if again, counts := r.again(r.fault); again && !counts {
			return struct{}{}, errNotItsFault // a stale connection, to be replaced
		}
		return struct{}{}, r.fault
	}
	x.Answered = since(x.Sent)
	r.stick()
	if failing(x.Response.Status) {
		return struct{}{}, errBadStatus
	}
	return struct{}{}, nil
}

func (r *run) send(m *member) error {
	x := r.x
	up, err := r.c.cfg.Transport.Reserve(x, m.Address, r.c.protocol(x))
	if err != nil {
		return err
	}
	sent := false
	defer func() {
		if !sent { // refused, or BeforeWrite panicked
			up.Release()
		}
	}()
	if x.BeforeWrite != nil {
		if err := x.BeforeWrite(x, up.Info()); err != nil {
			return err
		}
	}
	sent = true
	return up.RoundTrip(x)
}

func (c *Cluster) protocol(x *exchange.Exchange) exchange.Protocol {
	switch {
	case c.cfg.Protocol == "h2" && x.Request.Upgrade == "":
		return exchange.HTTP2
	case c.cfg.Protocol == "auto" && x.Request.Proto == "HTTP/2.0" && x.IsGRPC():
		return exchange.HTTP2
	}
	return exchange.HTTP1
}

// again says whether the exchange may be sent again, and whether that counts
// as one of its retries.
func (r *run) again(f *exchange.Fault) (again, counts bool) {
	x, o := r.x, r.o
	if f == nil {
		return r.replay && x.Response.Tunnel == nil && idempotent(x.Request.Method) &&
			slices.Contains(o.OnStatus, x.Response.Status), true
	}
	untouched := r.replay || x.Request.Read == 0
	switch {
	case f.Source != exchange.FromUpstream || f.Code == "breaker-open" || f.Code == "no-endpoint":
		return false, false
	case f.Code == "stale-connection":
		return untouched && f.Retryable || r.replay && idempotent(x.Request.Method), r.free >= freeRetries
	case f.Retryable:
		return untouched && o.OnConnect, true
	case f.Code == "reset":
		return r.replay && o.OnReset && idempotent(x.Request.Method), true
	}
	return false, false
}

// keepBody makes the request body replayable where that is allowed and cheap.
func (r *run) keepBody() *exchange.Fault {
	req := &r.x.Request
	switch {
	case req.Body == nil || req.Length == 0:
		r.replay = true
		return nil
	case req.Upgrade != "" || r.o.Attempts == 0 || !idempotent(req.Method),
		req.Length < 0 || req.Length > r.o.BufferBody:
		r.upload = &upload{ReadCloser: req.Body}
		req.Body = r.upload
		return nil
	}
	r.now = time.Time{} // the client takes its time to send it
	buf := make([]byte, req.Length)
	if _, err := io.ReadFull(req.Body, buf); err != nil {
		var f *exchange.Fault
		switch cause := r.x.Ended(); {
		case errors.As(err, &f):
			return f
		case errors.Is(cause, errTimeout):
			return stalledFault()
		case cause != nil:
			return r.explain(nil)
		}
		return r.explain(&exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest,
			Code: "body-incomplete", Title: "Request body is incomplete", Close: true, Err: err})
	}
	if errors.Is(r.x.Ended(), errTimeout) {
		return stalledFault() // nothing was sent: no endpoint may be blamed
	}
	_ = req.Body.Close()
	req.Body, r.replay = exchange.NewBody(buf), true
	return nil
}

func rewind(x *exchange.Exchange) {
	if b, ok := x.Request.Body.(*exchange.Bytes); ok {
		b.Rewind()
	}
}

// pause is exponential with full jitter.
func pause(o *Options, n int) time.Duration {
	d := max(o.Backoff, 0)
	for range min(n-1, 16) {
		d = min(2*d, o.MaxBackoff) // step by step, so it cannot overflow
	}
	return rand.N(max(min(d, o.MaxBackoff), 0) + 1)
}

func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

func failing(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}
