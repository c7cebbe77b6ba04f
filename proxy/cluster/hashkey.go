package cluster

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	mrand "math/rand/v2"
	"strconv"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// HashKey says where consistent_hash finds an exchange's key.
type HashKey struct {
	From   string // "header", "cookie", "claim", "query", "param", "consumer", "path" or "address"
	Name   string // of the header, cookie, claim, query parameter or path parameter
	Cookie *Cookie
}

// Cookie is a cookie that is set where a client brings none.
type Cookie struct {
	Path     string
	TTL      time.Duration // 0: until the browser ends
	Secure   bool
	HTTPOnly bool
	SameSite string // "lax", "strict", "none"
}

// draw picks the endpoint of an attempt.
func (r *run) draw(l *lineup, avoid *tried) *member {
	if !r.keyed && len(r.c.cfg.Hash) > 0 && r.c.cfg.Balance == "consistent_hash" {
		r.key, _ = r.c.keyOf(r)
		r.keyed = true
	}
	r.last = r.c.pick.pick(l, r.key, avoid)
	return r.last
}

// stick gives a client its cookie, together with the service's answer.
func (r *run) stick() {
	if r.cookie != "" {
		r.x.Response.Header.Add("Set-Cookie", r.cookie)
	}
}

// keyOf is the hash of the first key that the exchange has, and which that is.
// Without any it is a random one, of none. A cookie to be set is left in r.
func (c *Cluster) keyOf(r *run) (uint64, *HashKey) {
	for i := range c.cfg.Hash {
		k := &c.cfg.Hash[i]
		if k.From == "address" {
			if ip := r.x.ClientIP; ip.IsValid() {
				b := ip.As16() // an IPv4 address is the same in both spellings
				return mix(binary.BigEndian.Uint64(b[:8]) ^ mix(binary.BigEndian.Uint64(b[8:]))), k
			}
			continue
		}
		if value := k.value(r.x); value != "" {
			return hash(value), k
		}
		if k.Cookie != nil {
			value := newCookieValue()
			r.cookie = k.Cookie.line(k.Name, value)
			return hash(value), k
		}
	}
	return mrand.Uint64(), nil
}

func (k *HashKey) value(x *exchange.Exchange) string {
	switch k.From {
	case "header":
		return x.Request.Header.Get(k.Name)
	case "cookie":
		return cookieOf(&x.Request.Header, k.Name)
	case "claim":
		return claimOf(x.Identity, k.Name)
	case "query":
		return queryOf(x.Request.Query, k.Name)
	case "param":
		return x.Param(k.Name)
	case "consumer":
		return x.Consumer
	case "path":
		return x.Request.Path
	}
	return ""
}

// claimOf is a claim of the user's token that is text, or what became of one.
func claimOf(id *exchange.Identity, name string) string {
	if id == nil {
		return ""
	}
	switch name {
	case "sub":
		return id.Subject
	case "iss":
		return id.Issuer
	}
	s, _ := id.Claims[name].(string)
	return s
}

// cookieOf is the value of a cookie (RFC 6265 section 5.4), the first of that
// name.
func cookieOf(h *exchange.Fields, name string) string {
	for i := range h.Len() {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, "cookie") {
			continue
		}
		for rest := f.Value; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			n, v, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
			if ok && n == name {
				return strings.Trim(v, `"`)
			}
		}
	}
	return ""
}

// queryOf is the value of a query parameter as it is sent, percent-encoding and
// all: the same spelling is the same key.
func queryOf(query, name string) string {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if n, v, _ := strings.Cut(pair, "="); n == name {
			return v
		}
	}
	return ""
}

func newCookieValue() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// line is the Set-Cookie field (RFC 6265 section 4.1).
func (c *Cookie) line(name, value string) string {
	var b strings.Builder
	b.WriteString(name + "=" + value + "; Path=" + c.Path)
	if c.TTL > 0 {
		b.WriteString("; Max-Age=" + strconv.FormatInt(int64(c.TTL/time.Second), 10))
	}
	if c.Secure {
		b.WriteString("; Secure")
	}
	if c.HTTPOnly {
		b.WriteString("; HttpOnly")
	}
	switch c.SameSite {
	case "lax":
		b.WriteString("; SameSite=Lax")
	case "strict":
		b.WriteString("; SameSite=Strict")
	case "none":
		b.WriteString("; SameSite=None")
	}
	return b.String()
}
