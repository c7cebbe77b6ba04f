package exchange

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// Stream is one opaque TCP connection that is carried through: for a database
// or a broker, whose protocol nobody here reads.
type Stream struct {
	Listener  string
	Start     time.Time
	Remote    netip.AddrPort // the client's end
	Peer      Peer           // the verified other side: the caller of a mesh listener, else the endpoint
	Service   string
	Endpoint  string
	Attempts  int
	Connected time.Duration // until there was a connection to the endpoint; 0: never
	In, Out   atomic.Int64  // bytes from the client, and to it
	Fault     *Fault        // why it ended or never began; nil when both sides ended it in order
}

// Wire is one end of an opaque stream.
type Wire interface {
	net.Conn // Close ends it in order, when both halves have ended
	// CloseWrite ends our half, so that the other side reads to an end that it
	// can tell from a cut: FIN, or TLS's close_notify.
	CloseWrite() error
	// Reset cuts it, so that the other side gets an error and no end. It may be
	// called at any time, and again.
	Reset()
}

// Dialer opens opaque streams to endpoints. Errors are a *Fault.
type Dialer interface {
	Dial(ctx context.Context, address string) (Wire, Peer, error)
}
