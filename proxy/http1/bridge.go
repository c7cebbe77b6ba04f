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
		x.Request.Body = &foreignRead{ReadCloser: body, h: u.h}
	}
	if early != nil {
		x.Informational = func(status int, header *exchange.Fields) {
			onLoop(u.h, func() { early(status, header) })
		}
	}
	err := u.h.await(func() error { return u.Upstream.RoundTrip(x) })
	x.Informational = early
	if err != nil {
		x.Request.Body = body
		return err
	}
	if x.Response.Body != nil {
		x.Response.Body = &awaited{ReadCloser: x.Response.Body, h: u.h}
	}
	return nil
}

// onLoop runs f as a task of the loop and waits for it, from a goroutine.
func onLoop(h host, f func()) {
	var wg sync.WaitGroup
	wg.Add(1)
	h.elsewhere(func() {
		defer wg.Done()
		f()
	})
	wg.Wait()
}

// foreignRead is a request body of a loop that a goroutine reads.
type foreignRead struct {
	io.ReadCloser
	h host
}

// Read implements io.Reader.
func (b *foreignRead) Read(p []byte) (n int, err error) {
	onLoop(b.h, func() { n, err = b.ReadCloser.Read(p) })
	return n, err
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
