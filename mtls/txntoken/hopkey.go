package txntoken

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"hash"
	"runtime"
	"strings"
	"sync"
	"weak"
)

// exporterLabel names the key's purpose (RFC 5705 section 4: private labels
// begin with EXPORTER).
const exporterLabel = "EXPORTER-lintel-hop-token"

// HopKey signs and verifies the hop tokens of one TLS connection, in both
// directions. Deriving it costs more than signing, so make one per connection
// (see HopKeys). It is safe for concurrent use.
type HopKey struct {
	pool sync.Pool // *hopMAC
}

// hopMAC is an HMAC with its key already in, and scratch memory.
type hopMAC struct {
	mac  hash.Hash
	sha  hash.Hash
	buf  []byte
	body []byte
	sum  [sha256.Size]byte
	tth  [43]byte // base64url of a SHA-256

	known [4]string // IDs that were found valid lately: a connection's are the same ever again
	next  int
}

// valid is validID with a memory.
func (m *hopMAC) valid(id string) bool {
	for i := range m.known {
		if m.known[i] == id && id != "" {
			return true
		}
	}
	if !validID(id) {
		return false
	}
	m.known[m.next] = strings.Clone(id)
	m.next = (m.next + 1) % len(m.known)
	return true
}

// NewHopKey derives the connection's key with the TLS exporter. Both ends get
// the same 32 bytes and nobody else does. TLS 1.3 is required: the mesh speaks
// nothing older, and its exporter is bound to the whole handshake.
func NewHopKey(cs *tls.ConnectionState) (*HopKey, error) {
	switch {
	case cs == nil || !cs.HandshakeComplete:
		return nil, fmt.Errorf("txntoken: a hop token needs a TLS connection whose handshake is over: %w", ErrIdentity)
	case cs.Version < tls.VersionTLS13:
		return nil, fmt.Errorf("txntoken: a hop token needs TLS 1.3, the connection has %s: %w", tls.VersionName(cs.Version), ErrIdentity)
	}
	secret, err := cs.ExportKeyingMaterial(exporterLabel, nil, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("txntoken: the connection exports no key: %w: %w", ErrIdentity, err)
	}
	k := new(HopKey)
	k.pool.New = func() any { return &hopMAC{mac: hmac.New(sha256.New, secret), sha: sha256.New()} }
	return k, nil
}

// HopKeys keeps one HopKey per connection, found by the address of the
// connection's state: the engines hand out the same pointer for as long as the
// connection lives. An entry goes when its state is garbage; none has to be
// removed. The zero value is ready to use.
type HopKeys struct {
	m sync.Map // weak.Pointer[tls.ConnectionState] → *HopKey
}

// For returns the key of cs's connection, derived when first asked for.
func (h *HopKeys) For(cs *tls.ConnectionState) (*HopKey, error) {
	if cs == nil {
		return NewHopKey(nil)
	}
	w := weak.Make(cs)
	if k, ok := h.m.Load(w); ok {
		return k.(*HopKey), nil
	}
	k, err := NewHopKey(cs)
	if err != nil {
		return nil, err
	}
	if first, raced := h.m.LoadOrStore(w, k); raced {
		return first.(*HopKey), nil
	}
	runtime.AddCleanup(cs, func(w weak.Pointer[tls.ConnectionState]) { h.m.Delete(w) }, w)
	return k, nil
}

func (h *HopKeys) len() int {
	n := 0
	h.m.Range(func(any, any) bool { n++; return true })
	return n
}

func (m *hopMAC) sign(input []byte) []byte {
	m.mac.Reset()
	m.mac.Write(input)
	return m.mac.Sum(m.sum[:0])
}

// hash returns tth: base64url(SHA-256(ASCII(token))), as draft-ietf-wimse-wpt
// has it, from the hash if somebody has made it. The result lives in m.
func (m *hopMAC) hash(token string, known *[sha256.Size]byte) []byte {
	if *known != [sha256.Size]byte{} {
		b64.Encode(m.tth[:], known[:])
		return m.tth[:]
	}
	m.body = append(m.body[:0], token...)
	m.sha.Reset()
	m.sha.Write(m.body)
	b64.Encode(m.tth[:], m.sha.Sum(m.sum[:0]))
	return m.tth[:]
}
