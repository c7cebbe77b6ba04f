package cache

import (
	"net/url"

	"lintel.dev/lintel/proxy/exchange"
)

// passed is an exchange that was none of the cache's business. Where it changed
// something, what is kept of it is forgotten (RFC 9111 section 4.4).
func (f *cache) passed(x *exchange.Exchange, v *visit) {
	if status := x.Response.Status; v.unsafe && status >= 200 && status < 400 {
		f.forget(v.uri)
		f.invalidateNamed(x, v, "Location")
		f.invalidateNamed(x, v, "Content-Location")
	}
	f.say(x, "lintel; fwd="+v.fwd)
}

// invalidateNamed forgets the URI that a field of the answer names, if it is of
// the same origin: a service may not have others' answers forgotten.
func (f *cache) invalidateNamed(x *exchange.Exchange, v *visit, field string) {
	named := x.Response.Header.Get(field)
	if named == "" {
		return
	}
	scheme, authority, path, query := splitURI(string(v.uri))
	base := &url.URL{Scheme: scheme, Host: authority, RawQuery: query}
	base.Path, base.RawPath = unescaped(path), path
	to, err := base.Parse(named)
	if err != nil || to.Scheme != scheme || to.User != nil {
		return
	}
	r := exchange.Request{Scheme: to.Scheme, Authority: to.Host, Path: to.EscapedPath(), Query: to.RawQuery}
	key := f.appendURI(nil, &r)
	if _, other, _, _ := splitURI(string(key)); other == authority {
		f.forget(key)
	}
}

func unescaped(path string) string {
	if s, err := url.PathUnescape(path); err == nil {
		return s
	}
	return path
}
