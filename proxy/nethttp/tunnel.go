package nethttp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// tunnel is a connection after 101: bytes both ways until both halves end.
type tunnel struct {
	client  net.Conn
	service io.ReadWriteCloser
	once    sync.Once
	idle    *exchange.Idle
}

func (t *tunnel) cut() {
	t.once.Do(func() {
		_ = t.client.Close()
		_ = t.service.Close()
	})
}

// switchProtocols takes the connection from net/http, writes the 101 and
// copies. It returns when the tunnel is over.
func (in *inbound) switchProtocols(x *exchange.Exchange) error {
	in.mu.Lock()
	in.headWritten = true
	in.mu.Unlock()
	conn, rw, err := in.rc.Hijack()
	if err != nil {
		_ = x.Response.Tunnel.Close()
		return fmt.Errorf("nethttp: taking over the connection: %w", err)
	}
	t := &tunnel{client: conn, service: x.Response.Tunnel}
	in.s.keep(t)
	defer in.s.forget(t)
	defer t.cut()
	_ = conn.SetDeadline(time.Time{})
	if err := writeSwitch(rw.Writer, x); err != nil {
		return fmt.Errorf("nethttp: writing: %w", err)
	}
	t.idle = exchange.NewIdle(x.Response.TunnelIdle, t.cut)
	up := make(chan error, 1)
	go func() { up <- t.pass(t.service, buffered(rw.Reader, conn)) }()
	written := countingWriter{w: conn, n: &x.Response.Written}
	down := t.pass(written, t.service)
	err = errors.Join(down, <-up)
	if t.idle.Stop() {
		in.s.log.Debug("tunnel closed: nothing passed for too long", "listener", in.s.cfg.Name, "remote", in.r.RemoteAddr,
			"limit", x.Response.TunnelIdle)
		return nil
	}
	if err != nil {
		return fmt.Errorf("nethttp: tunnel: %w", err)
	}
	return nil
}

// pass copies one direction and then ends it; an error ends both.
func (t *tunnel) pass(to io.Writer, from io.Reader) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	_, err := io.CopyBuffer(onlyWriter{to}, touching{from, t.idle}, *buf)
	if err == nil {
		err = closeWrite(to)
	}
	if err != nil {
		t.cut()
	}
	return err
}

func writeSwitch(w *bufio.Writer, x *exchange.Exchange) error {
	h := http.Header{}
	for name, value := range x.Response.Header.All() {
		h.Add(name, value)
	}
	h.Del("Content-Length")
	h.Del("Transfer-Encoding")
	h.Set("Connection", "Upgrade")
	if h.Get("Upgrade") == "" {
		h.Set("Upgrade", x.Request.Upgrade)
	}
	_, _ = w.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	if err := h.Write(w); err != nil {
		return err
	}
	_, _ = w.WriteString("\r\n")
	return w.Flush()
}

// buffered reads first what net/http had read ahead.
func buffered(ahead *bufio.Reader, conn net.Conn) io.Reader {
	n := ahead.Buffered()
	if n == 0 {
		return conn
	}
	return io.MultiReader(io.LimitReader(ahead, int64(n)), conn)
}

func (s *Server) keep(t *tunnel) {
	s.mu.Lock()
	s.tunnels[t] = struct{}{}
	s.mu.Unlock()
}

func (s *Server) forget(t *tunnel) {
	s.mu.Lock()
	delete(s.tunnels, t)
	s.mu.Unlock()
}

// closeWrite ends our half of a stream, or all of it where halves are unknown.
func closeWrite(w any) error {
	var err error
	switch w := w.(type) {
	case interface{ CloseWrite() error }:
		err = w.CloseWrite()
	case io.Closer:
		err = w.Close()
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

type countingWriter struct {
	w io.Writer
	n *int64
}

func (c countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	*c.n += int64(n)
	return n, err
}

func (c countingWriter) CloseWrite() error { return closeWrite(c.w) }

// onlyWriter and touching hide ReadFrom and WriteTo, which would bypass the
// pooled buffer.
type onlyWriter struct{ io.Writer }

// touching is a reader that says when it has read something.
type touching struct {
	r    io.Reader
	idle *exchange.Idle
}

func (r touching) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.idle.Touch()
	return n, err
}
