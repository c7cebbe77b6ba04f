package nethttp

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

var errPlainPeer = errors.New("nethttp: a verified peer is required here, but the connection is plaintext")

// fill turns the request head into an exchange. It returns why the request
// must be refused; x is filled all the same, for those who observe it.
func (in *inbound) fill(x *exchange.Exchange) *exchange.Fault {
	r, cfg := in.r, &in.s.cfg
	c := connOf(r)
	x.Client = exchange.ConnInfo{Listener: cfg.Name, Local: c.local, Remote: c.remote, TLS: r.TLS, Protocol: "http/1.1"}
	if r.ProtoMajor == 2 {
		x.Client.Protocol = "h2"
	}
	x.ClientIP = c.remote.Addr()
	req := &x.Request
	req.Method, req.Proto, req.Authority, req.Target = r.Method, r.Proto, r.Host, r.RequestURI
	req.Scheme = "http"
	if r.TLS != nil {
		req.Scheme = "https"
	}
	req.Path, req.Query = splitTarget(r.RequestURI)
	lines := fillFields(&req.Header, r.Header)
	if len(r.Trailer) > 0 {
		if names := trailing(r.Trailer); names != "" {
			req.Header.Add("Trailer", names)
		}
	}
	req.Length = r.ContentLength
	req.Expect = r.ProtoAtLeast(1, 1) && req.Header.HasToken("Expect", "100-continue")
	req.Upgrade = upgrade(r, &req.Header)
	if r.Body == nil || r.Body == http.NoBody {
		req.Length, req.Expect = 0, false
	}
	if cfg.PeerID != nil {
		peer, err := c.verify(r.TLS, cfg.PeerID)
		if err != nil {
			return &exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusForbidden, Code: "peer-refused",
				Title: "The connection's identity is not accepted here", Close: true, Err: err}
		}
		x.Peer, x.Client.PeerID = peer, peer.ID
	}
	return in.refuse(req, lines)
}

// refuse checks the head against the listener's limits.
func (in *inbound) refuse(req *exchange.Request, lines int) *exchange.Fault {
	cfg := &in.s.cfg
	switch {
	case req.Method == http.MethodConnect:
		return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusMethodNotAllowed, Code: "connect-not-served",
			Title: "CONNECT is not served", Detail: "this proxy opens no tunnels by CONNECT", Close: true}
	case !isToken(req.Method):
		return badRequest("bad-method", "the method is no token (RFC 9110 section 9.1)")
	case badTrailer(&req.Header):
		return badRequest("bad-trailer", "the Trailer field names what is no field name (RFC 9110 section 6.6.2)")
	case lines > cfg.HeaderCount:
		return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusRequestHeaderFieldsTooLarge, Code: "too-many-fields",
			Title: "Too many header fields", Detail: fmt.Sprintf("%d header field lines; at most %d are taken", lines, cfg.HeaderCount), Close: true}
	case req.Authority == "" && req.Proto != "HTTP/1.0":
		return badRequest("no-authority", "the request names no host")
	case strings.IndexByte(req.Target, '#') >= 0:
		return badRequest("bad-target", "a request target has no fragment (RFC 9112 section 3.2)")
	case cfg.BodyBytes > 0 && req.Length > cfg.BodyBytes:
		return tooLarge(cfg.BodyBytes)
	}
	return nil
}

func badRequest(code, detail string) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: code,
		Title: "Bad request", Detail: detail, Close: true}
}

func tooLarge(limit int64) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusRequestEntityTooLarge, Code: "body-too-large",
		Title: "Request body is too large", Detail: fmt.Sprintf("at most %d bytes are taken", limit), Close: true}
}

// splitTarget returns path and query of a request target as they were sent,
// without the scheme and authority of an absolute-form.
func splitTarget(target string) (path, query string) {
	if i := strings.Index(target, "://"); i > 0 && target[0] != '/' {
		rest := target[i+3:]
		if j := strings.IndexAny(rest, "/?"); j >= 0 {
			target = rest[j:]
		} else {
			target = ""
		}
	}
	path, query, _ = strings.Cut(target, "?")
	if path == "" {
		path = "/"
	}
	return path, query
}

// fillFields copies header fields except those the engine speaks for, and
// counts all lines.
func fillFields(to *exchange.Fields, from http.Header) (lines int) {
	for name, values := range from {
		lines += len(values)
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding":
			continue
		}
		for _, v := range values {
			to.Add(name, v)
		}
	}
	return lines
}

// trailing lists the announced trailer fields that may be some.
func trailing(h http.Header) string {
	keys := make([]string, 0, len(h))
	for k := range h {
		if exchange.MayTrail(k) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return strings.Join(keys, ", ")
}

// addTrailer takes over what came after a body, as far as it may, and as the
// message's Connection field does not claim it.
func addTrailer(to *exchange.Fields, from http.Header, connection string) {
	for name, values := range from {
		if !exchange.MayTrail(name) || connection != "" && exchange.Lists(connection, name) {
			continue
		}
		for _, v := range values {
			to.Add(name, v)
		}
	}
}

// upgrade returns the protocol an Upgrade request asks for. A request with a
// body is no such request here, and h2c is never switched to: the upgraded
// connection would carry requests no filter has seen.
func upgrade(r *http.Request, h *exchange.Fields) string {
	if r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.ContentLength != 0 || !h.HasToken("Connection", "upgrade") {
		return ""
	}
	p := strings.ToLower(strings.Trim(h.Joined("Upgrade"), " \t"))
	name, version, versioned := strings.Cut(p, "/")
	if p == "h2c" || !isToken(name) || versioned && !isToken(version) {
		return ""
	}
	return p
}

// isToken reports whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func badTrailer(h *exchange.Fields) bool {
	if !h.Has("Trailer") {
		return false
	}
	for name := range strings.SplitSeq(h.Joined("Trailer"), ",") {
		if name = strings.Trim(name, " \t"); name != "" && !isToken(name) {
			return true
		}
	}
	return false
}
