package nethttp

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// copyBuffer is how much is in flight per stream and direction.
const copyBuffer = 32 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }}

// respond writes x.Response. The error says why the client did not get all of
// it.
func (in *inbound) respond(x *exchange.Exchange) error {
	res := &x.Response
	if res.Status == http.StatusSwitchingProtocols && res.Tunnel != nil && in.r.ProtoMajor == 1 {
		return in.switchProtocols(x)
	}
	if res.Status < 200 || res.Status > 999 {
		x.DropResponse()
		x.Answer(http.StatusInternalServerError, "", nil)
	}
	bodyless := in.r.Method == http.MethodHead || res.Status == http.StatusNoContent || res.Status == http.StatusNotModified
	in.writeHead(x, bodyless)
	if bodyless || res.Body == nil {
		if !bodyless && res.Length > 0 {
			return fmt.Errorf("nethttp: the answer says %d bytes but has no body: %w", res.Length, io.ErrUnexpectedEOF)
		}
		return nil
	}
	if err := in.stream(x); err != nil {
		if in.r.Context().Err() != nil {
			return fmt.Errorf("nethttp: client went away: %w", context.Cause(in.r.Context()))
		}
		return err
	}
	in.writeTrailer(x)
	return nil
}

func (in *inbound) writeHead(x *exchange.Exchange, bodyless bool) {
	res, h := &x.Response, in.w.Header()
	in.mu.Lock()
	defer in.mu.Unlock()
	for name, value := range res.Header.All() {
		h.Add(x.Lasting(name), x.Lasting(value))
	}
	h.Del("Content-Length")
	h.Del("Transfer-Encoding")
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // or net/http guesses one
	}
	if res.Body == nil && res.Length < 0 && !bodyless {
		res.Length = 0
	}
	if res.Length >= 0 && res.Status != http.StatusNoContent && !(in.r.ProtoMajor == 1 && h["Trailer"] != nil && res.Body != nil) {
		h["Content-Length"] = []string{strconv.FormatInt(res.Length, 10)}
	}
	in.settleUpload(x, h)
	in.headWritten = true
	in.w.WriteHeader(res.Status)
}

// settleUpload decides what becomes of a request body that is not read to its
// end. With a complete answer at hand net/http takes or drops the rest in its
// own way before the head goes out. While a service still answers, answer and
// upload must overlap, and since nobody can tell where the upload will be
// broken off, an HTTP/1 connection is then not used again: what is left of it
// must never be taken for a request.
func (in *inbound) settleUpload(x *exchange.Exchange, h http.Header) {
	if x.Fault != nil && x.Fault.Close {
		h.Set("Connection", "close")
	}
	if in.body == nil || in.r.ProtoMajor != 1 {
		return
	}
	if in.ambiguous() {
		h.Set("Connection", "close")
	}
	if in.body.eof.Load() {
		return
	}
	_, whole := x.Response.Body.(*exchange.Bytes)
	if whole || x.Response.Body == nil {
		in.body.closed.Store(true)
		if !in.body.started.Load() {
			_ = in.rc.SetReadDeadline(time.Now().Add(linger))
			return
		}
	}
	_ = in.rc.EnableFullDuplex()
	h.Set("Connection", "close")
}

// ambiguous reports whether somebody before us may have framed the request
// otherwise. One that says both Transfer-Encoding and Content-Length must end
// its connection (RFC 9112 section 6.1), or what a proxy in front took for the
// rest of the body would be served as a request. net/http drops Content-Length
// before anyone sees it, so strangers' chunked requests are all ended so.
func (in *inbound) ambiguous() bool {
	stranger := in.s.cfg.PeerID == nil && !in.s.cfg.ProxyRequests
	return stranger && len(in.r.TransferEncoding) > 0
}

// stream copies the body. Whatever the service has sent so far is passed on
// before waiting for more.
func (in *inbound) stream(x *exchange.Exchange) error {
	res := &x.Response
	// net/http flushes what is left after the handler; that is bounded too.
	defer in.patience(in.s.cfg.WriteTimeout)
	if b, ok := res.Body.(*exchange.Bytes); ok {
		n, err := b.WriteTo(pieces{in})
		res.Written += n
		return in.short(res, err)
	}
	if res.Length < 0 {
		in.patience(in.s.cfg.WriteTimeout)
		if err := in.rc.Flush(); err != nil {
			return fmt.Errorf("nethttp: writing: %w", err)
		}
		in.patience(0)
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, rerr := res.Body.Read(*buf)
		if n > 0 {
			in.patience(in.s.cfg.WriteTimeout)
			m, err := in.w.Write((*buf)[:n])
			res.Written += int64(m)
			if err == nil && (res.Length < 0 || n < len(*buf) && res.Written < res.Length) {
				err = in.rc.Flush()
			}
			if err != nil {
				return fmt.Errorf("nethttp: writing: %w", err)
			}
			in.patience(0) // waiting for the service is not the client's time
		}
		switch {
		case rerr == io.EOF:
			return in.short(res, nil)
		case rerr != nil:
			in.patience(in.s.cfg.WriteTimeout)
			_ = in.rc.Flush()
			return fmt.Errorf("nethttp: the answer broke off after %d bytes: %w", res.Written, rerr)
		}
	}
}

// patience bounds how long the client may take to accept what is written next;
// 0 lifts the bound. Over HTTP/2 a deadline ends the stream even when nothing is
// being written, so it stands only while something is.
func (in *inbound) patience(d time.Duration) {
	switch {
	case in.s.cfg.WriteTimeout <= 0:
	case d == 0:
		_ = in.rc.SetWriteDeadline(time.Time{})
	default:
		_ = in.rc.SetWriteDeadline(time.Now().Add(d))
	}
}

// pieces writes a body held in memory so that the bound is on each piece and
// not on the whole.
type pieces struct{ in *inbound }

func (w pieces) Write(p []byte) (n int, err error) {
	for len(p) > n && err == nil {
		w.in.patience(w.in.s.cfg.WriteTimeout)
		var m int
		m, err = w.in.w.Write(p[n:min(n+copyBuffer, len(p))])
		n += m
	}
	return n, err
}

func (in *inbound) short(res *exchange.Response, err error) error {
	if err != nil {
		return fmt.Errorf("nethttp: writing: %w", err)
	}
	if res.Length >= 0 && res.Written < res.Length {
		return fmt.Errorf("nethttp: the answer ended after %d of %d bytes: %w", res.Written, res.Length, io.ErrUnexpectedEOF)
	}
	return nil
}

// writeTrailer hands net/http the trailer fields: announced ones by name,
// others by its prefix for them.
func (in *inbound) writeTrailer(x *exchange.Exchange) {
	t := &x.Response.Trailer
	if t.Len() == 0 {
		return
	}
	h := in.w.Header()
	fresh := map[string]bool{}
	for name, value := range t.All() {
		if !exchange.MayTrail(name) {
			continue
		}
		key := http.CanonicalHeaderKey(x.Lasting(name))
		if !x.Response.Header.HasToken("Trailer", name) {
			key = http.TrailerPrefix + key
		}
		if !fresh[key] {
			fresh[key] = true
			delete(h, key)
		}
		h[key] = append(h[key], x.Lasting(value))
	}
}
