package txntoken

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"lintel.dev/lintel/proxy/exchange"
)

// Memory holds the transactions in flight, so that a call an app makes while
// it serves one finds the transaction it belongs to. An entry lives exactly as
// long as its inbound exchange. It is safe for concurrent use.
type Memory struct {
	max     int
	refused atomic.Uint64
	mu      sync.RWMutex
	byID    map[memoryID]*memory
	byToken map[[sha256.Size]byte]*sharers
}

// memoryID is 128 random bits.
type memoryID [16]byte

type memory struct {
	id         memoryID
	text       [2 * len(memoryID{})]byte // the same in hexadecimal
	t          *exchange.Txn
	hash       [sha256.Size]byte // of the Txn-Token; byToken has it only if there is one
	of         *sharers          // nil when the transaction has no token
	prev, next *memory           // among the sharers
}

// sharers are the exchanges in flight with one and the same Txn-Token.
type sharers struct {
	first *memory
	// chain is what the chains of all of them began with, differ whether one
	// of them had another chain.
	chain  []string
	differ bool
}

// NewMemory returns a Memory of at most max transactions; 65536 when max is
// not positive.
func NewMemory(max int) *Memory {
	if max <= 0 {
		max = 1 << 16
	}
	return &Memory{max: max, byID: make(map[memoryID]*memory), byToken: make(map[[sha256.Size]byte]*sharers)}
}

// Remember notes t until forget is called (once or more, from anywhere) and
// sets t.Memory to the id by which ByState finds it: 128 random bits in
// hexadecimal. Whoever knows an id can use the transaction; it goes to the
// own app only.
//
// t is complete by then: its Token and Chain must not change afterwards.
//
// When max transactions are in flight already, nothing is remembered: the id
// is "", Refused counts it, and the app's calls go out without the
// transaction. Those remembered before are not disturbed.
func (m *Memory) Remember(t *exchange.Txn) (id string, forget func()) {
	e := &memory{t: t}
	_, _ = rand.Read(e.id[:]) // never fails: crypto/rand ends the program instead
	hex.Encode(e.text[:], e.id[:])
	hasToken := t.Token != ""
	if hasToken {
		if e.hash = t.Hash; e.hash == [sha256.Size]byte{} {
			e.hash = sha256.Sum256([]byte(t.Token))
		}
	}
	t.Memory = unsafe.String(&e.text[0], len(e.text)) // e is never changed or used again
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.byID) >= m.max {
		m.refused.Add(1)
		t.Memory = ""
		return "", func() {}
	}
	m.byID[e.id] = e
	if hasToken {
		m.share(e)
	}
	return t.Memory, func() { m.forget(e.id) }
}

func (m *Memory) share(e *memory) {
	s := m.byToken[e.hash]
	if s == nil {
		s = &sharers{chain: e.t.Chain}
		m.byToken[e.hash] = s
	} else if !slices.Equal(s.chain, e.t.Chain) {
		s.differ = true
		n := 0
		for n < len(s.chain) && n < len(e.t.Chain) && s.chain[n] == e.t.Chain[n] {
			n++
		}
		s.chain = s.chain[:n:n]
	}
	e.of, e.next = s, s.first
	if s.first != nil {
		s.first.prev = e
	}
	s.first = e
}

// forget ends an entry. An unknown id is none of its business.
func (m *Memory) forget(id memoryID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byID[id]
	if e == nil {
		return
	}
	delete(m.byID, id)
	if e.of == nil {
		return
	}
	if e.next != nil {
		e.next.prev = e.prev
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else if e.of.first = e.next; e.next == nil {
		delete(m.byToken, e.hash)
	}
}

// ByState returns the transaction that a tracestate's lintel member names, nil
// when it names none that is in flight. The transaction is the inbound
// exchange's own and must only be read.
func (m *Memory) ByState(tracestate string) *exchange.Txn {
	text := FindState(tracestate)
	if text == "" {
		return nil
	}
	var id memoryID
	for i := range id {
		id[i] = unhex(text[2*i])<<4 | unhex(text[2*i+1])
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if e := m.byID[id]; e != nil {
		return e.t
	}
	return nil
}

// unhex is the value of a digit that isID has accepted.
func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

// ByToken returns a transaction in flight with this Txn-Token, nil when there
// is none; it must only be read. When several exchanges share the token it is
// the latest of them. Should they have come by different ways, nobody can tell
// which one the app's call belongs to: then the chain returned is what all
// their chains begin with, so that it says nothing untrue of any of them.
func (m *Memory) ByToken(token string) *exchange.Txn {
	if token == "" || len(token) > MaxTxnBytes {
		return nil
	}
	hash := sha256.Sum256([]byte(token))
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := m.byToken[hash]
	if s == nil {
		return nil
	}
	if !s.differ {
		return s.first.t
	}
	t := *s.first.t
	t.Chain = s.chain
	return &t
}

// Len reports how many transactions are remembered.
func (m *Memory) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.byID)
}

// Refused counts the transactions that were not remembered since max were.
func (m *Memory) Refused() uint64 { return m.refused.Load() }
