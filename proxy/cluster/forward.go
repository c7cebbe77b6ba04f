package cluster

import (
	"errors"
	"fmt"
	"io"
	"net/http"
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
	On5xx      bool          // retry on every status from 500
	OnGRPC     GRPC          // retry gRPC calls on these of their statuses
	Backoff    time.Duration // first pause
	MaxBackoff time.Duration // longest pause
	PerTry     time.Duration // until an attempt that may be followed by another is given up; 0 is not before Timeout
	BufferBody int64         // bodies up to this many bytes are kept for a retry

	Methods        []string // which may be sent twice; nil: the idempotent ones
	IdempotencyKey bool     // and any other with an Idempotency-Key
	DeadlineFrom   []string // fields in which trusted callers say how long they wait
	DeadlineTo     string   // field in which the service is told; "" none

	Hedge *Hedge // nil: none
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
	left, limited, fault := r.terms()
	if fault != nil {
		return fault
	}
	if !limited {
		return r.instead(r.within())
	}
	if left <= 0 {
		return r.instead(overdueFault(c.cfg.Service))
	}
	x.Expire(left, errTimeout)
	fault = r.within()
	if !x.Unexpire() && fault == nil {
		// The head came just too late: the exchange is cancelled or about to
		// be, which would cut the body.
		fault = timeoutFault(c.cfg.Service, "no answer in time")
	}
	return r.instead(fault)
}

// within keeps to the service's limit and budget.
func (r *run) within() *exchange.Fault {
	if fault := r.enter(); fault != nil {
		return fault
	}
	r.c.budget.deposit(r.x.Start)
	return r.loop()
}

// loop makes attempts until one succeeds or there is no further.
func (r *run) loop() *exchange.Fault {
	x := r.x
	if fault := r.keepBody(); fault != nil {
		return fault
	}
	for n := 0; ; {
		x.Spare = r.left(n)
		fault := r.next(n)
		again, counts := r.again(fault)
		var wait time.Duration
		switch {
		case !again, x.Ended() != nil:
			return fault
		case !counts:
			r.free++
		default:
			if r.left(n) == 0 {
				return fault
			}
			n++
			var ok bool
			// What there is now is better than a certain timeout.
			if wait, ok = r.pause(n, fault == nil); !ok || !x.Deadline.IsZero() && time.Until(x.Deadline) <= wait || !r.spend(fault) {
				return fault
			}
		}
		if !r.seal() {
			return fault
		}
		r.drop()
		if wait > 0 {
			if err := x.Sleep(wait); err != nil {
				return r.explain(fault)
			}
		}
		r.rewind()
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
	c := r.c
	lineup := c.lineup.Load()
	if len(lineup.members) == 0 {
		r.fault = &exchange.Fault{
			Source: exchange.FromUpstream, Status: http.StatusServiceUnavailable, Code: "no-endpoint",
			Title: "No endpoint is healthy", Detail: "service " + c.cfg.Service + " has no healthy endpoint",
			RetryAfter: time.Second, Proxy: "destination_unavailable",
		}
		return struct{}{}, errNotItsFault
	}
	for range maxTried {
		m := r.pick(lineup)
		if m == nil {
			break
		}
		if in, err := r.letIn(m); in {
			return struct{}{}, err
		}
	}
	r.fault = c.allOpen()
	return struct{}{}, errNotItsFault
}

// visit sends the request to r.serving.
func (r *run) visit() (struct{}, error) {
	c, x, m := r.c, r.x, r.serving
	r.visited, r.app = true, ""
	x.Endpoint = m.Address
	x.Attempts++
	if x.Sent, r.now = r.now, (time.Time{}); x.Sent.IsZero() {
		x.Sent = since(x.Start)
	}
	x.Answered = time.Time{}
	if r.hedge != nil {
		r.hedge.asks(m)
	}
	m.busy.Add(1)
	c.inHand.Add(1)
	r.holds = true
	if err := r.send(m); err != nil {
		r.release()
		r.fault = r.explain(asFault(err))
		again, counts := r.again(r.fault)
		replaced := again && !counts // a stale connection
		if !replaced || !r.keyed {
			r.seen.add(m) // a key stays with its endpoint, which did nothing wrong
		}
		if replaced || r.blameless() {
			return struct{}{}, errNotItsFault
		}
		if r.fault.Code == "timeout" {
			c.limit.observe(time.Now(), 0, true)
		}
		return struct{}{}, r.fault
	}
	x.Answered = since(x.Sent)
	r.stick()
	if r.mesh {
		r.told()
	}
	if failing(x) {
		return struct{}{}, errBadStatus
	}
	if c.limit != nil && r.upload == nil && x.Response.Status < 500 && x.Response.Tunnel == nil {
		c.limit.observe(x.Answered, x.Answered.Sub(x.Sent), false)
	}
	return struct{}{}, nil
}

// blameless reports a fault that says nothing about the service.
func (r *run) blameless() bool {
	switch f := r.fault; {
	case f.Source != exchange.FromUpstream, f.Code == "pool-full": // our own limit
		return true
	case f.Code == "timeout": // in time that the caller cut short, or that began late
		return r.second || r.hurried && !errors.Is(f.Err, errTryTimeout)
	}
	return false
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
	r.mesh = up.Info().PeerID != ""
	if err := r.prepare(up); err != nil {
		return err
	}
	sent = true
	return up.RoundTrip(x)
}

// prepare changes the request for the connection it is about to go on.
func (r *run) prepare(up exchange.Upstream) error {
	if r.hedge != nil { // it may be copied any time
		r.hedge.mu.Lock()
		defer r.hedge.mu.Unlock()
	}
	r.tell()
	if before := r.x.BeforeWrite; before != nil {
		return before(r.x, up.Info())
	}
	return nil
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

// keeping is what becomes of a request's body on its way to the service: whether
// it could be sent again, and if not, why it is not kept.
type keeping uint8

const (
	bodyNone      keeping = iota // there is none
	bodyRead                     // whole, before it is sent
	bodyNoted                    // as it passes, see kept
	bodySwitching                // not: the request asks for another protocol
	bodyUnwanted                 // not: it would not be sent again
	bodyEndless                  // not: its length is not known
	bodyTooLong                  // not: it is longer than Options.BufferBody
)

// keeping keeps bodies where that is allowed and cheap.
func (r *run) keeping() keeping {
	req := &r.x.Request
	switch {
	case req.Body == nil || req.Length == 0:
		return bodyNone
	case r.o.Attempts > 0 && r.o.OnGRPC != 0 && r.x.IsGRPC():
		return bodyNoted
	case req.Upgrade != "":
		return bodySwitching
	case (r.o.Attempts == 0 || !r.twice()) && !r.o.Hedge.takes(req.Method):
		return bodyUnwanted
	case req.Length < 0:
		return bodyEndless
	case req.Length > r.o.BufferBody:
		return bodyTooLong
	}
	return bodyRead
}

// keepBody does with the request body as keeping says.
func (r *run) keepBody() *exchange.Fault {
	req := &r.x.Request
	switch r.keeping() {
	case bodyNone:
		r.replay = true
		return nil
	case bodyNoted:
		r.kept = &kept{ReadCloser: req.Body, limit: r.o.BufferBody}
		r.upload = &upload{ReadCloser: r.kept}
		req.Body = r.upload
		return nil
	case bodyRead:
	default:
		r.upload = &upload{ReadCloser: req.Body}
		req.Body = r.upload
		return nil
	}
	r.now = time.Time{} // the client takes its time to send it
	buf, err := readTo(req.Body, req.Length)
	if err != nil {
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

// readTo reads a body of the given length and to its end: only there are the
// trailers known that may follow it.
func readTo(body io.Reader, length int64) ([]byte, error) {
	buf := make([]byte, length+1) // one more finds the end, and a body that is longer
	for at := 0; ; {
		n, err := body.Read(buf[at:])
		switch at += n; {
		case int64(at) > length:
			return nil, &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError, Code: "internal",
				Title: "Internal error", Close: true, Err: fmt.Errorf("cluster: the request body has more than its %d bytes", length)}
		case err == io.EOF && int64(at) == length:
			return buf[:length:length], nil
		case err == io.EOF:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
	}
}

// seal takes an untouched request body from the attempt that has it, for another, and
// reports whether there will be a body for that.
func (r *run) seal() bool {
	if r.replayable() {
		return true
	}
	next := r.upload.anew()
	if next == nil {
		return false
	}
	r.upload, r.x.Request.Body = next, next
	return true
}

// rewind has the request body begin anew for another attempt.
func (r *run) rewind() {
	if r.kept.whole() {
		r.x.Request.Body = exchange.NewBody(r.kept.bytes)
		r.kept, r.upload, r.replay = nil, nil, true
	}
	if b, ok := r.x.Request.Body.(*exchange.Bytes); ok {
		b.Rewind()
	}
}

// failing reports whether the answer says that the service is.
func failing(x *exchange.Exchange) bool {
	switch x.Response.Status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusOK:
		return x.Request.Proto == "HTTP/2.0" && x.IsGRPC() && grpcStatus(x) == grpcUnavailable
	}
	return false
}

const grpcUnavailable = 14
