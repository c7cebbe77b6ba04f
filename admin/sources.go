package admin

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/netip"
)

// Check is one thing that readiness looks at.
type Check struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Required bool   `json:"required"` // not ready while this one fails
	Detail   string `json:"detail,omitempty"`
}

// Field is one header field of an ExplainRequest.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ExplainRequest is the request that explain runs through the live table
// without forwarding it.
type ExplainRequest struct {
	Method     string
	Scheme     string // "http", "https", or "" for what the listener speaks
	Host       string
	Path       string // escaped, without query
	Query      string // without "?"
	Header     []Field
	Body       int64      // its length; -1 unknown
	Upgrade    string     // the protocol asked for, "" none
	GRPC       bool       // it is a gRPC call, over HTTP/2
	Listener   string     // it comes in on; "" for the first that fits
	ClientIP   netip.Addr // of the connection; the zero Addr for 127.0.0.1
	Peer       string     // the SPIFFE ID that the connection proves; "" for none
	ClientCert []*x509.Certificate
}

// Sources are the rooms that admin asks. They are called from any goroutine,
// at any time between New and the end of Shutdown, and what they return is
// encoded as JSON. Whatever is nil answers 404.
type Sources struct {
	Ready       func() []Check
	Config      func() any // redacted by its owner; values under telling keys are hidden again here
	Routes      func() any
	Services    func() any
	Connections func() any
	Explain     func(ExplainRequest) (any, error)
	Drain       func()                      // begins the drain and returns
	Unrouted    bool                        // whoever may write routes must not have this API by one
	Leave       func(context.Context) error // leaves the catalog, and returns when no one is sent here any more
	Reload      func() error
	Metrics     http.Handler
	Caches      Caches
	Deny        func(context.Context, Denial) (lists int, err error) // withdraws a token in every list in Redis
	Keys        func() []byte                                        // a JWK Set (RFC 7517)
}
