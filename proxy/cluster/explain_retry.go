package cluster

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// trouble is something that may come of an attempt: a fault, or else an answer.
type trouble struct {
	after  string
	fault  *exchange.Fault
	status int
	grpc   int
	below  int    // retries that a Lintel further on has made
	unsent bool   // nothing of the request was sent
	hasty  bool   // it comes of per_try_timeout
	never  string // why nobody tries again, whatever the route says; "" it may
}

// upstream is a fault of the way to the service.
func upstream(code string, retryable bool) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromUpstream, Code: code, Retryable: retryable}
}

// grpcNames are the statuses that retries.on may name.
var grpcNames = [...]struct {
	name string
	code int
}{{"cancelled", 1}, {"deadline-exceeded", 4}, {"resource-exhausted", 8}, {"aborted", 10}, {"internal", 13}, {"unavailable", 14}}

// troubles are those that explanations speak of.
func (r *run) troubles(mesh bool) []trouble {
	list := []trouble{
		{after: "connect", fault: upstream("connect-refused", true), unsent: true},
		{after: "reset", fault: upstream("reset", false)},
		{after: "stale-connection", fault: upstream("stale-connection", false)},
	}
	if r.o.PerTry > 0 {
		list = append(list, trouble{after: "per_try_timeout", fault: r.tooLate(), hasty: true})
	}
	statuses := append([]int{http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout}, r.o.OnStatus...)
	slices.Sort(statuses)
	for _, n := range slices.Compact(statuses) {
		list = append(list, trouble{after: strconv.Itoa(n), status: n})
	}
	if r.x.IsGRPC() {
		for _, g := range grpcNames {
			list = append(list, trouble{after: g.name, status: http.StatusOK, grpc: g.code})
		}
	}
	if mesh {
		for _, t := range list {
			if t.fault == nil && t.again(r.c, r.x, r.o) {
				t.after, t.below, t.never = t.after+" that a Lintel further on has retried", 1, "one tier retries"
				list = append(list, t)
				break
			}
		}
	}
	unasked := []string{"breaker-open", "no-endpoint"}
	if r.c.limit != nil {
		unasked = append(unasked, "service-overloaded")
	}
	for _, code := range unasked {
		list = append(list, trouble{after: code, fault: upstream(code, false), never: "nobody can be asked then"})
	}
	return append(list,
		trouble{after: "timeout", fault: timeoutFault(r.c.cfg.Service, ""), never: "there is no time left"},
		trouble{after: "bad-answer", fault: upstream("bad-answer", false), never: "the service has had the request, and would answer so again"},
		trouble{after: "a break in the answer's body", fault: upstream("stream-reset", false), never: "its head is on its way to the client"})
}

// again asks what a run asks itself when an attempt has come to this.
func (t *trouble) again(c *Cluster, x *exchange.Exchange, o *Options) bool {
	r := &run{c: c, x: x, o: o, below: t.below}
	r.foresee(!t.unsent)
	if t.hasty && !r.hasty(0) {
		return false
	}
	if t.fault == nil {
		x.Response.Status = t.status
		if t.grpc != 0 {
			x.Response.Header.Set("Grpc-Status", strconv.Itoa(t.grpc))
		}
		defer x.DropResponse()
	}
	again, counts := r.again(t.fault)
	return again && (!counts || r.left(0) > 0)
}

// what could be otherwise about an exchange that is not sent again.
const (
	itsMethod = 1 << iota
	itsBody
	theAttempts
	everything
)

// missing is what would have to be otherwise for x to be sent again, as little as
// possible; 0 when nothing of the kind would help.
func (t *trouble) missing(c *Cluster, x *exchange.Exchange, o *Options) int {
	for _, set := range [...]int{itsMethod, itsBody, theAttempts, itsMethod | itsBody, itsMethod | theAttempts, itsBody | theAttempts, everything - 1} {
		y, p := x, otherwise(o, x, set)
		if set&itsBody != 0 {
			y = x.Detached() // which has none
		}
		if t.again(c, y, p) {
			return set
		}
	}
	return 0
}

// otherwise are the terms with what may be otherwise.
func otherwise(o *Options, x *exchange.Exchange, set int) *Options {
	p := *o
	if set&itsMethod != 0 {
		p.Methods = []string{x.Request.Method}
	}
	if set&theAttempts != 0 {
		p.Attempts = max(p.Attempts, 1)
	}
	return &p
}

// why says in words why x is not sent again.
func (t *trouble) why(r *run) string {
	set := t.missing(r.c, r.x, r.o)
	switch {
	case set == 0 && t.never != "":
		return t.never
	case set == 0:
		return "retries.on does not name it"
	}
	var parts []string
	if set&theAttempts != 0 {
		parts = append(parts, "no further attempts are configured")
	}
	if set&itsMethod != 0 {
		parts = append(parts, r.harmful())
	}
	if set&itsBody != 0 {
		would := &run{c: r.c, x: r.x, o: otherwise(r.o, r.x, set)}
		parts = append(parts, r.unkept(would.keeping()))
	}
	return strings.Join(parts, "; ")
}

// harmful says why the request is not sent twice.
func (r *run) harmful() string {
	methods := r.o.Methods
	if methods == nil {
		methods = []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}
	}
	s := r.x.Request.Method + " is none of retries.methods (" + strings.Join(methods, ", ") + ")"
	switch has := r.x.Request.Header.Get("Idempotency-Key") != ""; {
	case has: // then twice does not look at it
		s += ", and retries.idempotency_key is not set"
	case r.o.IdempotencyKey:
		s += ", and it has no Idempotency-Key"
	}
	return s
}

// unkept says why a body is not there for another attempt.
func (r *run) unkept(k keeping) string {
	switch k {
	case bodySwitching:
		return "it asks for another protocol"
	case bodyEndless:
		return "its body is of unknown length, and is not kept"
	case bodyTooLong:
		return "its body is longer than retries.buffer_body (" + size(r.o.BufferBody) + "), and is not kept"
	case bodyNoted:
		return "its message is longer than retries.buffer_body (" + size(r.o.BufferBody) + "), and is not kept"
	}
	return "its body is not kept"
}

// request says what of an exchange retries go by.
func (r *run) request() string {
	req := &r.x.Request
	s := req.Method
	switch {
	case req.Upgrade != "":
		return s + ", asks for " + req.Upgrade
	case req.Body == nil || req.Length == 0:
		return s + ", no body"
	case req.Length < 0:
		s += ", a body of unknown length"
	default:
		s += ", a body of " + size(req.Length)
	}
	switch r.keeping() {
	case bodyRead:
		return s + ", which is awaited and kept"
	case bodyNoted:
		return s + ", which is kept as it passes, up to " + size(r.o.BufferBody)
	}
	return s + ", which is not kept"
}

// retries says after what the exchange would be sent again.
func (r *run) retries(mesh bool) Term {
	t := Term{Kind: "retries", Inputs: r.request(), Settings: r.o.about()}
	some := false
	for _, trouble := range r.troubles(mesh) {
		c := Case{After: trouble.after, Again: trouble.again(r.c, r.x, r.o)}
		if !c.Again {
			c.Why = trouble.why(r)
		}
		some = some || c.Again && trouble.after != "stale-connection"
		t.Cases = append(t.Cases, c)
	}
	t.Verdict = atMost(r.left(0), some)
	return t
}

func atMost(n int, any bool) string {
	switch {
	case n == 0 || !any:
		return "no retry"
	case n == 1:
		return "one retry at most"
	}
	return fmt.Sprintf("%d retries at most", n)
}

// about describes the terms.
func (o *Options) about() string {
	if o.Attempts == 0 {
		return "no further attempts"
	}
	s := fmt.Sprintf("further attempts: %d, after %s to %s with jitter, or Retry-After of up to that when there is nobody else to ask", o.Attempts, exchange.ShortDuration(o.Backoff), exchange.ShortDuration(o.MaxBackoff))
	if o.PerTry > 0 {
		s += "; per_try_timeout " + exchange.ShortDuration(o.PerTry)
	}
	return s
}
