package txntoken

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

type reuseKey [sha256.Size]byte

// newReuseKey covers everything that is signed, the leaf, and the expiry of
// the user's credential: only what is the same throughout shares a token.
func newReuseKey(leaf *x509.Certificate, c *claims, user time.Time) (reuseKey, error) {
	same := *c
	same.Exp = 0
	if !user.IsZero() {
		same.Exp = user.UnixNano()
	}
	b, err := json.Marshal(&same)
	if err != nil {
		return reuseKey{}, fmt.Errorf("txntoken: cannot mint: tctx or rctx cannot be written as JSON: %w", err)
	}
	sum := sha256.Sum256(leaf.Raw)
	return sha256.Sum256(append(sum[:], b...)), nil
}

type reused struct {
	key   reuseKey
	t     exchange.Txn
	until time.Time
}

// reuseCache holds tokens in the order they were made, which is the order they
// run out in.
type reuseCache struct {
	mu    sync.Mutex
	max   int
	byKey map[reuseKey]*reused
	queue []*reused
}

func newReuseCache(max int) *reuseCache {
	return &reuseCache{max: max, byKey: make(map[reuseKey]*reused)}
}

func (c *reuseCache) get(k reuseKey, now time.Time) *exchange.Txn {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[k]
	if e == nil || !now.Before(e.until) || now.Unix() >= e.t.Expires.Unix() {
		return nil
	}
	t := e.t
	return &t
}

func (c *reuseCache) put(k reuseKey, t *exchange.Txn, now, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &reused{k, *t, until}
	e.t.Subject, e.t.Scope = strings.Clone(t.Subject), strings.Clone(t.Scope) // as given to Mint: they may be views
	c.byKey[k] = e
	c.queue = append(c.queue, e)
	for len(c.queue) > c.max || !now.Before(c.queue[0].until) {
		old := c.queue[0]
		c.queue[0] = nil
		c.queue = c.queue[1:]
		if c.byKey[old.key] == old {
			delete(c.byKey, old.key)
		}
		if len(c.queue) == 0 {
			return
		}
	}
}

// warned remembers who was warned about lately.
type warned struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const (
	warnEvery = 10 * time.Minute
	warnMax   = 1024 // subjects remembered
)

func newWarned() *warned { return &warned{last: make(map[string]time.Time)} }

// due reports whether it is time to warn about subject (again).
func (w *warned) due(subject string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last, ok := w.last[subject]; ok && now.Sub(last) < warnEvery {
		return false
	}
	if len(w.last) >= warnMax {
		clear(w.last)
	}
	w.last[strings.Clone(subject)] = now
	return true
}
