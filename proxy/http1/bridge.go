package http1

import (
	"io"
	"sync"

	"lintel.dev/lintel/proxy/exchange"
)

// Bridge lets exchanges of this engine's server go over another transport,
// which blocks and brings goroutines of its own: neither is for an event loop.
func Bridge(t exchange.Transport) exchange.Transport { return &bridge{t} }

type bridge struct{ exchange.Transport }

// Reserve implements exchange.Transport.
func (b *bridge) Reserve(x *exchange.Exchange, address string, p exchange.Protocol) (exchange.Upstream, error) {
	h := hostOf(x)
	if h.lane() == 0 {
		return b.Transport.Reserve(x, address, p)
	}
	var u exchange.Upstream
	err := h.await(func() (err error) {
		u, err = b.Transport.Reserve(x, address, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &bridged{u, h}, nil
}

type bridged struct {
	exchange.Upstream
	h host
}

// RoundTrip implements exchange.Upstream.
func (u *bridged) RoundTrip(x *exchange.Exchange) error {
	body, early := x.Request.Body, x.Informational
	if _, memory := body.(*exchange.Bytes); body != nil && !memory {
		b := &foreignRead{ReadCloser: body, h: u.h}
		x.Request.Body = b
		defer x.OnDone(b.leave) // before the other transport waits for its reader, which it does on the loop
	}
	if early != nil {
		x.Informational = func(status int, header *exchange.Fields) {
			onLoop(u.h, func() { early(status, header) })
		}
	}
	err := u.h.await(func() error { return u.Upstream.RoundTrip(x) })
	x.Informational, x.Request.Body = early, body // another attempt may follow also after an answer
	if err != nil {
		return err
	}
	if x.Response.Body != nil {
		x.Response.Body = &awaited{ReadCloser: x.Response.Body, h: u.h}
	}
	return nil
}

// onLoop runs f as a task of the loop and waits for it, from a goroutine.
func onLoop(h host, f func()) {
	done := make(chan struct{})
	if h.elsewhere(func() {
		defer close(done)
		f()
	}) {
		<-done
	}
}

// foreignRead is a request body of a loop that a goroutine reads.
type foreignRead struct {
	io.ReadCloser
	h host

	mu   sync.Mutex // held while reading
	over bool
}

// Read implements io.Reader.
func (b *foreignRead) Read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return 0, errBodyOver
	}
	err = errBodyOver // of a loop that is gone, or a body that panics
	onLoop(b.h, func() { n, err = b.ReadCloser.Read(p) })
	return n, err
}

// leave waits until nobody reads any more. The loop has ended reads that wait
// for the client by now.
func (b *foreignRead) leave() {
	_ = b.h.await(func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.over = true
		return nil
	})
}

// awaited is an answer's body that a task of a loop reads.
type awaited struct {
	io.ReadCloser
	h host
}

// Read implements io.Reader.
func (b *awaited) Read(p []byte) (n int, err error) {
	err = b.h.await(func() (err error) {
		n, err = b.ReadCloser.Read(p)
		return err
	})
	return n, err
}

// Close implements io.Closer: an HTTP/2 stream that is broken off waits for the
// connection to say so.
func (b *awaited) Close() error { return b.h.await(b.ReadCloser.Close) }
