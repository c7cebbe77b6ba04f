package exchange

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// ConnInfo says what is known about a connection, a client's or an endpoint's.
type ConnInfo struct {
	Listener string // the accepting listener's name; "" for endpoint connections
	Local    netip.AddrPort
	Remote   netip.AddrPort
	TLS      *tls.ConnectionState // nil on plaintext; its exporter signs hop tokens
	PeerID   string               // the verified SPIFFE ID of the other side, "" when none
	Protocol string               // "http/1.1" or "h2"
	Reused   bool                 // an endpoint connection that has carried a request before
}

// Peer is the verified other side of a mesh connection.
type Peer struct {
	ID          string // spiffe://trust-domain/path
	TrustDomain string
	Cert        *x509.Certificate
	Chain       []*x509.Certificate // as it was shown, Cert first
}

// Identity is the user on whose behalf a request is made, as verified at the
// edge from a token or key, or inside from a Txn-Token.
type Identity struct {
	Method  string // "jwt", "apikey", "certificate", "txn"
	Issuer  string
	Subject string
	Roles   []string
	Scope   []string
	Claims  map[string]any // read only: shared by every exchange with the same token
	Expires time.Time      // zero when it does not expire
}

// Claim finds a claim by its whole name first (names such as
// https://example.com/roles hold dots), then by dotted path through nested
// objects.
func Claim(claims map[string]any, path string) (any, bool) {
	for {
		if v, ok := claims[path]; ok {
			return v, true
		}
		head, rest, dotted := strings.Cut(path, ".")
		if !dotted {
			return nil, false
		}
		inner, ok := claims[head].(map[string]any)
		if !ok {
			return nil, false
		}
		claims, path = inner, rest
	}
}

// Txn is the transaction an exchange belongs to (a verified or just minted
// Txn-Token, draft-ietf-oauth-transaction-tokens) and the chain of hops it took.
type Txn struct {
	Token    string         // the Txn-Token exactly as it travels; "" when the chain alone is known
	Hash     [32]byte       // its SHA-256, which every hop needs; zero when nobody has made it yet
	ID       string         // claim txn
	Subject  string         // claim sub
	Scope    string         // claim scope
	ReqWL    string         // claim req_wl: the workload that asked for the token
	Context  map[string]any // claim tctx
	Rctx     map[string]any // claim rctx
	Minter   string         // SPIFFE ID of the signer
	Self     bool           // it speaks for a workload itself, not for a user
	Expires  time.Time      // claim exp
	Chain    []string       // SPIFFE IDs it came through, oldest first; the last is the TLS peer
	Deadline time.Time      // zero when the caller set none
	Retries  int            // retries the caller leaves to those further on; -1 unset
	Spent    *atomic.Int32  // those of them made so far, by all calls of the transaction; nil when it is not counted
	Priority Priority       // what the caller says of it
	Memory   string         // the tracestate member by which the app's own calls find this transaction
}

// Trace is the trace context of this hop (W3C Trace Context).
type Trace struct {
	ID       [16]byte
	Span     [8]byte // this hop's span
	Parent   [8]byte // the caller's span; zero at a root
	Sampled  bool
	Random   bool     // the trace id is random (Trace Context level 2), so it can be sampled by
	State    string   // tracestate carried on
	Memory   string   // the tracestate member "lintel" that the app sent on; only outbound reads it
	LinkID   [16]byte // an untrusted caller's trace, linked and not continued; zero when none
	LinkSpan [8]byte
}

// Valid reports whether there is a trace at all.
func (t *Trace) Valid() bool { return t.ID != [16]byte{} }

// Original is the request line as the client sent it, kept from before any
// filter rewrote it: it is what spans, metrics and the access log name.
type Original struct {
	Method    string
	Scheme    string
	Authority string
	Path      string // without the query
	Query     string
}

// Priority says whose exchanges are given up first when the machine is full.
type Priority int8

// The priorities.
const (
	Critical  Priority = -1 // never given up
	Default   Priority = 0
	Sheddable Priority = 1 // given up first
)
