package nethttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"lintel.dev/lintel/proxy/exchange"
)

// maxInformational bounds the 1xx answers to one request.
const maxInformational = 16

var errTooManyInformational = errors.New("nethttp: too many 1xx answers")

// upstream is one reserved place on a connection.
type upstream struct {
	c    *conn
	t    *transport
	info exchange.ConnInfo
	used atomic.Bool
}

// Info implements exchange.Upstream.
func (u *upstream) Info() *exchange.ConnInfo { return &u.info }

// Release implements exchange.Upstream.
func (u *upstream) Release() {
	if u.used.CompareAndSwap(false, true) {
		u.c.cc.Release()
		u.c.p.put(u.c, true)
	}
}

// attempt is one request on a connection.
type attempt struct {
	c     *conn
	body  *sendBody // nil without one
	once  sync.Once
	first atomic.Bool // a byte of the answer has come
	wrote int64       // the connection's count before this request

	mu sync.Mutex // orders 1xx answers before RoundTrip's return
	x  *exchange.Exchange
	n  int
}

// RoundTrip implements exchange.Upstream.
func (u *upstream) RoundTrip(x *exchange.Exchange) error {
	if !u.used.CompareAndSwap(false, true) {
		return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError, Code: "internal",
			Title: "Internal error", Err: errors.New("nethttp: a reservation was used twice")}
	}
	a := &attempt{c: u.c, x: x, wrote: u.c.raw.wrote.Load()}
	if u.c.heads != nil {
		u.c.heads.begin()
	}
	ctx := x.Context()
	req := a.request(ctx, x, u.c.info.Protocol == "h2")
	res, err := u.c.cc.RoundTrip(req)
	a.mu.Lock()
	a.x = nil
	a.mu.Unlock()
	if err != nil {
		return a.failed(ctx, x, &u.info, err)
	}
	return a.answered(x, res)
}

// request frames x for net/http, byte for byte where the protocol allows.
func (a *attempt) request(ctx context.Context, x *exchange.Exchange, h2 bool) *http.Request {
	req := &http.Request{
		Method: x.Lasting(x.Request.Method), URL: target(x, a.c.p), Host: x.Lasting(x.Request.Authority),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, x.Request.Header.Len()+2),
	}
	for name, value := range x.Request.Header.All() {
		key := http.CanonicalHeaderKey(x.Lasting(name))
		switch key {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
			continue
		case "Connection", "Upgrade", "Keep-Alive", "Proxy-Connection":
			if h2 || x.Request.Upgrade != "" {
				continue
			}
		}
		req.Header[key] = append(req.Header[key], x.Lasting(value))
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header["User-Agent"] = []string{""} // or net/http names itself
	}
	if x.Request.Upgrade != "" && !h2 {
		req.Header["Connection"] = []string{"Upgrade"}
		req.Header["Upgrade"] = []string{x.Lasting(x.Request.Upgrade)}
	}
	if x.Request.Body != nil && x.Request.Length != 0 {
		a.attach(req, x)
	}
	trace := &httptrace.ClientTrace{GotFirstResponseByte: a.firstByte, Got100Continue: a.continued, Got1xxResponse: a.informational}
	return req.WithContext(httptrace.WithClientTrace(ctx, trace))
}

func (a *attempt) attach(req *http.Request, x *exchange.Exchange) {
	req.Trailer = http.Header{}
	for name := range strings.SplitSeq(x.Request.Header.Joined("Trailer"), ",") {
		name = http.CanonicalHeaderKey(x.Lasting(strings.Trim(name, " \t")))
		if isToken(name) && exchange.MayTrail(name) { // net/http refuses some of the others
			req.Trailer[name] = nil
		}
	}
	req.ContentLength = x.Request.Length
	if len(req.Trailer) > 0 {
		req.ContentLength = -1 // HTTP/1 has trailers only after chunks
	}
	a.body = newSendBody(x, req.Trailer, a.c.raw.closed)
	req.Body = a.body
}

// target keeps path and query as they are. url.URL writes Opaque verbatim,
// except that one which begins with two slashes would become an absolute-form.
func target(x *exchange.Exchange, p *pool) *url.URL {
	path := x.Lasting(x.Request.Path)
	u := &url.URL{Scheme: "http", Host: p.key.address, RawQuery: x.Lasting(x.Request.Query)}
	if p.t.cfg.TLS != nil {
		u.Scheme = "https"
	}
	if !strings.HasPrefix(path, "//") {
		u.Opaque = path
		return u
	}
	u.RawPath = path
	if plain, err := url.PathUnescape(path); err == nil {
		u.Path = plain
	} else {
		u.Path = path
	}
	return u
}

func (a *attempt) firstByte() {
	a.first.Store(true)
	if a.body != nil && a.body.gate != nil {
		a.body.gate.final.Store(true)
	}
}

// continued comes before net/http lets the body go; informational after.
func (a *attempt) continued() {
	if a.body != nil && a.body.gate != nil {
		a.body.gate.continued.Store(true)
	}
}

func (a *attempt) informational(status int, h textproto.MIMEHeader) error {
	if a.body != nil && a.body.gate != nil {
		a.body.gate.final.Store(false)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n++; a.n > maxInformational {
		return errTooManyInformational
	}
	if a.x == nil || a.x.Informational == nil {
		return nil
	}
	var f exchange.Fields
	for name, values := range h {
		for _, v := range values {
			f.Add(name, v)
		}
	}
	a.x.Inform(status, &f)
	return nil
}

// release gives the connection back, once.
func (a *attempt) release(reusable bool) {
	a.once.Do(func() {
		if a.body != nil {
			a.body.end()
		}
		a.c.p.put(a.c, reusable)
	})
}

// answered fills x.Response.
func (a *attempt) answered(x *exchange.Exchange, res *http.Response) error {
	out := &x.Response
	out.Status, out.Proto, out.Length = res.StatusCode, res.Proto, res.ContentLength
	for name, values := range res.Header {
		switch name {
		case "Content-Length", "Transfer-Encoding":
			continue
		}
		for _, v := range values {
			out.Header.Add(name, v)
		}
	}
	if a.c.heads != nil {
		if v := a.c.heads.connection(); v != "" && !out.Header.Has("Connection") {
			out.Header.Add("Connection", v)
		}
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		stream, ok := res.Body.(io.ReadWriteCloser)
		if !ok || x.Request.Upgrade == "" {
			_ = res.Body.Close()
			a.release(false)
			out.Header.Reset()
			return protocolFault(a.c.p.key.address, "it switched protocols without being asked")
		}
		if to := res.Header.Get("Upgrade"); to != "" && !exchange.EqualFold(to, x.Request.Upgrade) {
			_ = res.Body.Close()
			a.release(false)
			out.Header.Reset()
			return protocolFault(a.c.p.key.address, "it switched to a protocol that was not asked for")
		}
		out.Length = -1
		out.Tunnel = &upTunnel{ReadWriteCloser: stream, a: a}
		return nil
	}
	if names := trailing(res.Trailer); names != "" {
		out.Header.Add("Trailer", names)
	}
	if res.Body == http.NoBody || x.Request.Method == http.MethodHead {
		_ = res.Body.Close()
		a.release(true)
		return nil
	}
	out.Body = &upBody{src: res.Body, res: res, x: x, a: a, connection: out.Header.Joined("Connection")}
	return nil
}

// upBody is an answer's body. Its end or Close releases the connection.
type upBody struct {
	src  io.ReadCloser
	res  *http.Response
	x    *exchange.Exchange
	a    *attempt
	done bool

	connection string // the answer's field
}

func (b *upBody) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	if err == io.EOF && !b.done {
		b.done = true
		addTrailer(&b.x.Response.Trailer, b.res.Trailer, b.connection)
		_ = b.src.Close()
		b.a.release(true)
	}
	return n, err
}

func (b *upBody) Close() error {
	err := b.src.Close()
	b.a.release(true) // net/http has closed the connection if it was not at its end
	return err
}

type upTunnel struct {
	io.ReadWriteCloser
	a *attempt
}

func (t *upTunnel) CloseWrite() error { return closeWrite(t.ReadWriteCloser) }

func (t *upTunnel) Close() error {
	err := t.ReadWriteCloser.Close()
	t.a.release(false)
	return err
}
