package exchange

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// Handler is what a server engine drives. For every request the engine calls
// Serve once, writes x.Response, then calls Finish once, whatever happened.
// A request the engine itself refuses comes with x.Fault set: Serve then only
// shapes the answer, so that observers see it too.
type Handler interface {
	Serve(x *Exchange)
	Finish(x *Exchange)
}

// ServerConfig is what a server engine is given. Zero values mean the defaults
// named here.
type ServerConfig struct {
	Name           string                                   // the listener's name
	TLS            *tls.Config                              // nil: plaintext
	H2             bool                                     // offer h2 by ALPN under TLS
	H2C            bool                                     // accept prior-knowledge HTTP/2 on plaintext
	HeaderBytes    int                                      // request head limit; 64 KiB
	HeaderCount    int                                      // field lines; 128
	BodyBytes      int64                                    // request body limit; 0 is unlimited
	HeaderTimeout  time.Duration                            // whole head must arrive within; 10 s
	IdleTimeout    time.Duration                            // keep-alive; 75 s
	RequestTimeout time.Duration                            // whole request body must arrive within; 0 is unlimited
	WriteTimeout   time.Duration                            // a client must take each piece of an answer within; 60 s, negative is unlimited
	MaxConns       int                                      // open connections; 0 is unlimited
	MaxStreams     uint32                                   // concurrent HTTP/2 streams per connection; 250
	PeerID         func(*tls.ConnectionState) (Peer, error) // nil: no mesh peer expected
	ProxyRequests  bool                                     // accept absolute-form for any authority (a sidecar as HTTP proxy)
}

// Server is one engine serving one or more listening sockets.
type Server interface {
	// Serve accepts until the listener is closed or the server shut down.
	Serve(net.Listener) error
	// Leaving has answers tell clients to go elsewhere (Connection: close,
	// GOAWAY), while connections and requests are still taken.
	Leaving()
	// Shutdown stops accepting, tells clients to go, and waits for exchanges
	// to end until ctx does; then it cuts what is left and says how many.
	Shutdown(ctx context.Context) (cut int, err error)
}

// TransportConfig is what a transport engine is given for one cluster. Where
// exchanges share a connection to an endpoint, as between two Lintels of a mesh,
// each stream counts as a connection here and in Open.
type TransportConfig struct {
	TLS            *tls.Config                                // nil: plaintext
	ConnectTimeout time.Duration                              // TCP and TLS together; 2 s
	IdleTimeout    time.Duration                              // an unused connection is closed after; 60 s
	MaxIdle        int                                        // idle connections kept per endpoint; 1024
	MaxConns       int                                        // connections per endpoint; 0 is unlimited
	HeaderBytes    int                                        // response head limit; 64 KiB
	Retire         func() time.Time                           // when a connection opened now must no longer be reused; nil: never
	PeerID         func(*tls.ConnectionState) (Peer, error)   // nil: no mesh peer expected
	Unshared       bool                                       // each exchange has a connection of its own, also to a mesh peer that could carry several on one
	RetirePeer     func(Peer) time.Time                       // the same because of the peer's own certificate; nil: never
	Distrusted     func(*tls.ConnectionState, time.Time) bool // at this time a connection must not be reused, since its other side would be refused now; nil: never
}

// Protocol is how to speak to an endpoint.
type Protocol string

// The protocols towards an endpoint.
const (
	HTTP1 Protocol = "http1"
	HTTP2 Protocol = "h2" // h2c when the transport has no TLS
)

// Transport keeps the connections of one cluster.
type Transport interface {
	// Reserve chooses or opens a connection to address for x. The error is a
	// *Fault, Retryable since nothing was sent.
	Reserve(x *Exchange, address string, p Protocol) (Upstream, error)
	// Retire lets the endpoint's connections finish what is in flight and
	// opens no more; idle ones close now.
	Retire(address string)
	// Close retires everything.
	Close()
	// Open counts connections, busy ones included.
	Open() int
}

// Upstream is a reserved connection (or stream) for exactly one attempt.
type Upstream interface {
	Info() *ConnInfo
	// RoundTrip sends x.Request and fills x.Response, whose Body (or Tunnel)
	// releases the connection when closed. Reading Body fails once x is
	// cancelled; Body is never closed while it is being read. The
	// error is a *Fault.
	RoundTrip(x *Exchange) error
	// Release gives back a connection that RoundTrip was not called on.
	Release()
}
