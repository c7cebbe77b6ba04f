package route

import (
	"net/url"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Match finds the most specific route for x: the most specific host, then
// segment by segment a literal before a parameter before a /* (so the longest
// match wins), then as Gateway API's HTTPRoute has it: a method match, more
// header matches, more query matches, file order. x.Request.Path must be
// normalised. It fills x.Params.
//
// A CORS preflight belongs to the route that takes the request it asks about, if
// a filter there answers it.
func (t *Table) Match(x *exchange.Exchange, host string) *Route {
	if filter.Preflight(x) {
		options := x.Request.Method
		x.Request.Method = filter.AskedMethod(x)
		r := t.match(x, host)
		x.Request.Method = options
		if r != nil && r.answers {
			return r
		}
	}
	return t.match(x, host)
}

func (t *Table) match(x *exchange.Exchange, host string) *Route {
	if n := t.hosts[host]; n != nil {
		if r := n.find(x); r != nil {
			return r
		}
	}
	if len(t.suffix) > 0 {
		for suffix := parent(host); suffix != ""; suffix = parent(suffix[1:]) {
			if n := t.suffix[suffix]; n != nil {
				if r := n.find(x); r != nil {
					return r
				}
			}
		}
	}
	return t.any.find(x)
}

// parent returns ".b.c" for "a.b.c", "" when there is none.
func parent(host string) string {
	if i := strings.IndexByte(host, '.'); i > 0 {
		return host[i:]
	}
	return ""
}

func (n *node) find(x *exchange.Exchange) *Route {
	x.Params = x.Params[:0]
	return n.walk(x, x.Request.Path)
}

// walk takes rest, "" or a path that begins with a slash, one segment on.
func (n *node) walk(x *exchange.Exchange, rest string) *Route {
	if rest == "" {
		if r := first(n.exact, x); r != nil {
			return r
		}
	} else {
		seg, after := rest[1:], ""
		if i := strings.IndexByte(seg, '/'); i >= 0 {
			seg, after = seg[:i], seg[i:]
		}
		if c := n.literal[seg]; c != nil {
			if r := c.walk(x, after); r != nil {
				return r
			}
		}
		if n.param != nil && seg != "" {
			x.Params = append(x.Params, exchange.Param{Value: seg})
			if r := n.param.walk(x, after); r != nil {
				return r
			}
			x.Params = x.Params[:len(x.Params)-1]
		}
	}
	if r := first(n.prefix, x); r != nil {
		r.nameParams(x)
		x.Params = append(x.Params, exchange.Param{Name: "rest", Value: strings.TrimPrefix(rest, "/")})
		return r
	}
	return nil
}

func first(routes []*Route, x *exchange.Exchange) *Route {
	for _, r := range routes {
		if r.served(x) && r.methodMatches(x) && r.fieldsMatch(x) {
			if !r.pattern.prefix {
				r.nameParams(x)
			}
			return r
		}
	}
	return nil
}

// nameParams gives the collected segments this route's names for them.
func (r *Route) nameParams(x *exchange.Exchange) {
	i := 0
	for _, seg := range r.pattern.segments {
		if name, ok := paramName(seg); ok && i < len(x.Params) {
			x.Params[i].Name = name
			i++
		}
	}
}

func (r *Route) methodMatches(x *exchange.Exchange) bool {
	return len(r.Match.Methods) == 0 || slices.Contains(r.Match.Methods, x.Request.Method)
}

func (r *Route) fieldsMatch(x *exchange.Exchange) bool {
	for _, f := range r.Match.Headers {
		if !headerMatches(x, f) {
			return false
		}
	}
	for _, f := range r.Match.Query {
		if !queryMatches(x.Request.Query, f) {
			return false
		}
	}
	return true
}

func headerMatches(x *exchange.Exchange, f Field) bool {
	if f.Value == "*" {
		return x.Request.Header.Has(f.Name)
	}
	return x.Request.Header.Has(f.Name) && x.Request.Header.Joined(f.Name) == f.Value
}

// queryMatches looks at the first parameter of that name, decoded.
func queryMatches(query string, f Field) bool {
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if unescape(name) != f.Name {
			continue
		}
		return f.Value == "*" || unescape(value) == f.Value
	}
	return false
}

func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// Allowed lists the methods that some route takes for x's host and path: for
// the Allow header of a 405. Empty when no route has the path at all.
func (t *Table) Allowed(x *exchange.Exchange, host string) []string {
	var methods []string
	if n := t.hosts[host]; n != nil {
		methods = n.allowed(x, x.Request.Path, methods)
	}
	for suffix := parent(host); suffix != ""; suffix = parent(suffix[1:]) {
		if n := t.suffix[suffix]; n != nil {
			methods = n.allowed(x, x.Request.Path, methods)
		}
	}
	methods = t.any.allowed(x, x.Request.Path, methods)
	slices.Sort(methods)
	return slices.Compact(methods)
}

// allowed walks the tree as walk does, but down every branch.
func (n *node) allowed(x *exchange.Exchange, rest string, methods []string) []string {
	collect := func(routes []*Route) {
		for _, r := range routes {
			if r.served(x) && r.fieldsMatch(x) {
				methods = append(methods, r.Match.Methods...)
			}
		}
	}
	collect(n.prefix)
	if rest == "" {
		collect(n.exact)
		return methods
	}
	seg, after := rest[1:], ""
	if i := strings.IndexByte(seg, '/'); i >= 0 {
		seg, after = seg[:i], seg[i:]
	}
	if c := n.literal[seg]; c != nil {
		methods = c.allowed(x, after, methods)
	}
	if n.param != nil && seg != "" {
		methods = n.param.allowed(x, after, methods)
	}
	return methods
}

// Matches reports whether a normalised path fits the pattern.
func (p *Pattern) Matches(path string) bool {
	rest := path
	for _, seg := range p.segments {
		if rest == "" {
			return false
		}
		got, after := rest[1:], ""
		if i := strings.IndexByte(got, '/'); i >= 0 {
			got, after = got[:i], got[i:]
		}
		_, param := paramName(seg)
		if param && got == "" || !param && got != seg {
			return false
		}
		rest = after
	}
	return p.prefix || rest == ""
}

// Outgoing returns the path to forward: rewritten or with its prefix stripped.
func (r *Route) Outgoing(x *exchange.Exchange) string {
	path := x.Request.Path
	if r.rewrite != nil {
		var b strings.Builder
		for _, p := range r.rewrite {
			b.WriteString(p.literal)
			if p.param != "" {
				b.WriteString(x.Param(p.param))
			}
		}
		// A parameter is one normal segment and {rest} a normal tail, but what
		// they make together may hold empty or dot segments. There is no error:
		// Compile checked the literals and the request's path was accepted.
		if out, err := NormalizePath(b.String(), KeepEncoded); err == nil {
			return out
		}
		return "/"
	}
	if prefix := strings.TrimSuffix(r.StripPrefix, "/"); prefix != "" {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			switch {
			case rest == "":
				return "/"
			case rest[0] == '/':
				return rest
			}
		}
	}
	return path
}

// Location is where a redirect leads.
func (r *Route) Location(x *exchange.Exchange) string {
	to := r.Redirect
	scheme, host, path := x.Request.Scheme, x.Request.Authority, x.Request.Path
	if to.Scheme != "" && to.Scheme != scheme {
		scheme = to.Scheme
		// The port belongs to the scheme that is left behind.
		if name, ok := Host(host); ok {
			host = name
		}
	}
	if to.Host != "" {
		host = to.Host
	}
	if to.Path != "" {
		path = to.Path
		if prefix, ok := strings.CutSuffix(to.Path, "/*"); ok {
			path = prefix + "/" + x.Param("rest")
		}
	}
	location := scheme + "://" + host + path
	if x.Request.Query != "" {
		location += "?" + x.Request.Query
	}
	return location
}
