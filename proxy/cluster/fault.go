package cluster

import (
	"errors"
	"net/http"

	"lintel.dev/lintel/proxy/exchange"
)

// explain turns a fault that is only a consequence of cancellation into its
// cause: the route's timeout, or the client that went away. f is nil when an
// answer was given up for a retry that cannot be made any more.
func (r *run) explain(f *exchange.Fault) *exchange.Fault {
	cause := r.x.Ended()
	switch {
	case f != nil && (cause == nil || f.Source == exchange.FromClient):
		return f
	case f != nil && f.Code == "pool-full" && (errors.Is(cause, errTryTimeout) || errors.Is(cause, errTimeout) && !r.hurried):
		return f // the timeout is how such a wait ends; what it was for says more
	case errors.Is(cause, errHedged):
		return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError, Code: "hedged", Title: "Another attempt was answered", Err: cause}
	case errors.Is(cause, errTryTimeout):
		return r.tooLate()
	case errors.Is(cause, errTimeout) && r.upload.stalled():
		return stalledFault()
	case errors.Is(cause, errTimeout):
		return timeoutFault(r.c.cfg.Service, "no answer in time")
	}
	return &exchange.Fault{Source: exchange.FromClient, Status: 499, Code: "client-gone",
		Title: "Client went away", Close: true, Err: cause}
}

func stalledFault() *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusRequestTimeout, Code: "upload-stalled",
		Title: "Request took too long", Detail: "the request body did not arrive in time", Close: true, Err: errTimeout}
}

// overdueFault is that of an exchange whose caller has no time left as it comes.
func overdueFault(service string) *exchange.Fault {
	return timeoutFault(service, "the caller's deadline had passed")
}

func timeoutFault(service, detail string) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromUpstream, Status: http.StatusGatewayTimeout, Code: "timeout",
		Title: "Service did not answer in time", Detail: "service " + service + ": " + detail,
		Proxy: "http_response_timeout"}
}

// asFault keeps an engine's fault and wraps anything else.
func asFault(err error) *exchange.Fault {
	var f *exchange.Fault
	if errors.As(err, &f) {
		return f
	}
	return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError,
		Code: "internal", Title: "Internal error", Err: err}
}
