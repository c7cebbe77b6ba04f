//go:build linux

package loop

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// certificate makes a self-signed one for 127.0.0.1, and the pool that trusts it.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// crypto/tls runs unchanged on top, as server and as client.
func TestTLS(t *testing.T) {
	g := newGroup(t, 2)
	cert, pool := certificate(t)
	addr := serve(t, g, always(&funcs{ready: func(c *Conn) bool {
		tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		_, _ = io.Copy(tc, tc)
		_ = tc.Close()
		return false
	}}))
	want := bytes.Repeat([]byte("secret "), 100<<10)
	for _, l := range g.Loops() {
		do(t, l, func() {
			c, err := l.Dial(context.Background(), "tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			tc := tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
			defer tc.Close()
			if err = tc.Handshake(); err != nil { // two tasks would both want its lock
				t.Error(err)
				return
			}
			w := l.Go(func() {
				if _, err := tc.Write(want); err != nil {
					t.Error(err)
				}
			})
			defer w.Join()
			got := make([]byte, len(want))
			if _, err = io.ReadFull(tc, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("read %v, equal: %v", err, bytes.Equal(got, want))
			}
		})
	}
}

// A handshake that nobody answers ends by the deadline.
func TestTLSHandshakeDeadline(t *testing.T) {
	g := newGroup(t, 1)
	c, _ := accepted(t, g)
	do(t, c.Loop(), func() {
		_ = c.SetDeadline(c.Loop().Now().Add(20 * time.Millisecond))
		err := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{{}}}).Handshake()
		if !isTimeout(err) {
			t.Errorf("handshake: %v, want a timeout", err)
		}
	})
}

// After Detach what was built on top goes on, on ordinary goroutines.
func TestDetach(t *testing.T) {
	g := newGroup(t, 1)
	cert, pool := certificate(t)
	detached := make(chan *tls.Conn, 1)
	conns := make(chan *Conn, 1)
	addr := serve(t, g, always(&funcs{ready: func(c *Conn) bool {
		tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		if err := tc.Handshake(); err != nil {
			t.Error(err)
		}
		if _, err := c.Detach(); err != nil {
			t.Error(err)
		}
		if _, err := c.Detach(); err == nil {
			t.Error("detached twice")
		}
		conns <- c
		detached <- tc
		return false
	}}))
	client, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.SetDeadline(time.Now().Add(patience))
	tc, c := within(t, "the detached connection", detached), within(t, "its Conn", conns)
	l := c.Loop()
	if n := look(t, l, func() int { return int(l.load.Load()) + l.tasks }); n != 0 {
		t.Errorf("%d connections and tasks are left on the loop", n)
	}
	done := make(chan struct{})
	go func() { // an ordinary goroutine blocks in it
		defer close(done)
		_, _ = io.Copy(tc, tc)
		_ = tc.CloseWrite()
	}()
	want := bytes.Repeat([]byte("x"), 1<<20)
	go func() {
		_, _ = client.Write(want)
		_ = client.CloseWrite()
	}()
	if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	within(t, "the echo to end", done)
	// Deadlines and Close reach the socket.
	_ = c.SetReadDeadline(time.Unix(1, 0))
	if _, err := c.Read(make([]byte, 1)); !isTimeout(err) && err != io.EOF {
		t.Errorf("read: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("a closed connection was written to")
	}
	if err := c.Close(); err == nil {
		t.Error("closed twice without an error")
	}
}

// Close from elsewhere and Detach may meet; either way the socket is closed.
func TestDetachMeetsClose(t *testing.T) {
	g := newGroup(t, 1)
	conns := make(chan *Conn, 1)
	addr := serve(t, g, always(&funcs{ready: func(c *Conn) bool {
		conns <- c
		_, _ = c.Detach()
		return false
	}}))
	for range 200 {
		nc := dial(t, addr)
		_, _ = nc.Write([]byte("x"))
		c := within(t, "the connection", conns)
		_ = c.Close()
		_, _ = io.Copy(io.Discard, nc) // ends, with an end or a reset
		_ = nc.Close()
	}
}
