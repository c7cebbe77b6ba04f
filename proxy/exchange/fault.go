package exchange

import (
	"fmt"
	"time"
)

// Source says whose doing a fault is.
type Source string

// The sources of a fault.
const (
	FromClient   Source = "client"   // the request is at fault
	FromPolicy   Source = "policy"   // a rule refused it
	FromUpstream Source = "upstream" // the service or the way to it
	FromSelf     Source = "internal" // Lintel itself
)

// Fault is why there is no ordinary answer. Filters, clusters and engines
// return one; only the pipe turns it into a response (problem+json, RFC 9457,
// or grpc-status).
type Fault struct {
	Source     Source
	Status     int    // HTTP status
	Code       string // short stable slug: the problem type and the metrics label, e.g. "no-route"
	Title      string // short, the same for every fault of this code
	Detail     string // what was found in this case; reaches the client, so no secrets
	RetryAfter time.Duration
	Header     []Field // further answer fields, e.g. WWW-Authenticate
	Proxy      string  // Proxy-Status error token (RFC 9209 section 2.3), "" when none fits
	Retryable  bool    // nothing reached the service, or it is known not to have acted
	Close      bool    // the client's connection must not be used again
	Err        error   // the cause, for logs only
	Errors     []Flaw  // what is wrong with the request, one by one; reaches the client

	// Instead is a configured answer that is given when no filter has a better
	// one, nil when there is none. It is shared: read only.
	Instead *Instead
}

// Instead is a fixed answer.
type Instead struct {
	Status int
	Header []Field
	Body   []byte
}

// Flaw is one thing wrong with a request.
type Flaw struct {
	In      string `json:"in"`                // "path", "query", "header", "cookie" or "body"
	Name    string `json:"name,omitempty"`    // of the parameter
	Pointer string `json:"pointer,omitempty"` // into the body or the parameter's value, as "#/items/0" (RFC 6901)
	Detail  string `json:"detail"`
}

// Error implements error.
func (f *Fault) Error() string {
	s := f.Code
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	if f.Err != nil {
		return fmt.Sprintf("%s: %v", s, f.Err)
	}
	return s
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }
