// Package clustertest is a transport without a network, to test what stands in
// front of one.
package clustertest

import (
	"context"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"lintel.dev/lintel/proxy/exchange"
)

// Transport is an exchange.Transport whose answers are functions.
type Transport struct {
	// Connect is asked for every Reserve; nil lets all connect.
	Connect func(ctx context.Context, address string) error
	// Answer is every RoundTrip; nil answers 200 with the body "ok".
	Answer func(x *exchange.Exchange, address string) error

	PeerID string // of every endpoint's identity; "" outside a mesh

	mu       sync.Mutex
	calls    map[string]int
	retired  []string
	reserved atomic.Int64 // connections neither released nor used up
	closed   atomic.Int64
}

// Reserve implements exchange.Transport.
func (t *Transport) Reserve(x *exchange.Exchange, address string, p exchange.Protocol) (exchange.Upstream, error) {
	t.mu.Lock()
	if t.calls == nil {
		t.calls = map[string]int{}
	}
	t.calls[address]++
	t.mu.Unlock()
	if t.Connect != nil {
		if err := t.Connect(x.Context(), address); err != nil {
			return nil, err
		}
	}
	t.reserved.Add(1)
	return &upstream{t: t, address: address, info: exchange.ConnInfo{Protocol: string(p), PeerID: t.PeerID}}, nil
}

// Retire implements exchange.Transport.
func (t *Transport) Retire(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retired = append(t.retired, address)
}

// Close implements exchange.Transport.
func (t *Transport) Close() { t.closed.Add(1) }

// Open implements exchange.Transport: the connections in use.
func (t *Transport) Open() int { return int(t.reserved.Load()) }

// Closed reports how often Close was called.
func (t *Transport) Closed() int { return int(t.closed.Load()) }

// Calls reports how often each address was reserved.
func (t *Transport) Calls() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]int{}
	for a, n := range t.calls {
		out[a] = n
	}
	return out
}

// Retired lists what was retired, in order.
func (t *Transport) Retired() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.retired...)
}

type upstream struct {
	t       *Transport
	address string
	info    exchange.ConnInfo
	once    sync.Once
}

func (u *upstream) Info() *exchange.ConnInfo { return &u.info }

func (u *upstream) Release() { u.once.Do(func() { u.t.reserved.Add(-1) }) }

func (u *upstream) RoundTrip(x *exchange.Exchange) error {
	answer := u.t.Answer
	if answer == nil {
		answer = func(x *exchange.Exchange, _ string) error { Respond(x, 200, "ok"); return nil }
	}
	answered := false
	defer func() {
		if !answered {
			u.Release()
		}
	}()
	if err := answer(x, u.address); err != nil {
		return err
	}
	answered = true
	if x.Response.Body == nil {
		u.Release()
	} else {
		x.Response.Body = &body{x.Response.Body, u}
	}
	return nil
}

type body struct {
	io.ReadCloser
	u *upstream
}

func (b *body) Close() error { b.u.Release(); return b.ReadCloser.Close() }

// Respond fills the response with a status and a streaming body.
func Respond(x *exchange.Exchange, status int, text string) {
	x.Response.Status, x.Response.Length = status, int64(len(text))
	x.Response.Body = io.NopCloser(strings.NewReader(text))
}

// Fault returns a fault as a transport gives it.
func Fault(code string, retryable bool) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromUpstream, Status: 502, Code: code, Title: code, Retryable: retryable}
}
