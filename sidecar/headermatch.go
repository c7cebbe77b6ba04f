package sidecar

import (
	"regexp"
	"slices"
	"strings"

	"lintel.dev/lintel/discovery"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/route"
)

// permission is one L7 permission of an intention with its expressions
// compiled.
type permission struct {
	discovery.Permission
	path    *regexp.Regexp
	headers []*regexp.Regexp // nil where the header has none
	broken  bool             // an expression does not compile: it matches nothing
}

func compilePermission(p discovery.Permission) permission {
	c := permission{Permission: p, headers: make([]*regexp.Regexp, len(p.Headers))}
	whole := func(expr string) *regexp.Regexp {
		if expr == "" {
			return nil
		}
		re, err := regexp.Compile("^(?:" + expr + ")$")
		c.broken = c.broken || err != nil
		return re
	}
	c.path = whole(p.PathRegex)
	c.PathExact, c.PathPrefix = spelled(p.PathExact, ""), spelled(p.PathPrefix, "x")
	for i, h := range p.Headers {
		c.headers[i] = whole(h.Regex)
	}
	return c
}

// spelled writes a path of an intention as requests have theirs written when
// they are checked, or one that denies /a%3Ab would deny nothing. A prefix may
// end within a segment: more stands for what goes on there, so that a last "."
// is not taken for a dot segment. What is no path stays as it is.
func spelled(path, more string) string {
	n, err := route.NormalizePath(path+more, route.KeepEncoded)
	if err != nil {
		return path
	}
	return strings.TrimSuffix(n, more)
}

// fits reports whether the permission is about this request. One that cannot
// be evaluated must not allow, so it fits only when it denies.
func (p *permission) fits(x *exchange.Exchange) bool {
	if p.broken || p.RequiresJWT {
		return !p.Allow
	}
	path := x.Request.Path
	switch {
	case p.PathExact != "" && path != p.PathExact,
		p.PathPrefix != "" && !strings.HasPrefix(path, p.PathPrefix),
		p.path != nil && !p.path.MatchString(path),
		len(p.Methods) > 0 && !slices.ContainsFunc(p.Methods, func(m string) bool { return strings.EqualFold(m, x.Request.Method) }):
		return false
	}
	for i, h := range p.Headers {
		if headerFits(h, p.headers[i], x, p.Allow != h.Invert) == h.Invert {
			return false
		}
	}
	return true
}

// headerFits reports whether the field is as h says. Of several lines nobody
// knows which one the app reads, so a further line must neither talk a caller
// into what is allowed nor out of what is denied: strict, every line and all of
// them joined must fit, else any of these.
func headerFits(h discovery.HeaderMatch, re *regexp.Regexp, x *exchange.Exchange, strict bool) bool {
	if !x.Request.Header.Has(h.Name) {
		return false
	}
	if valueFits(h, re, x.Request.Header.Joined(h.Name)) != strict {
		return !strict
	}
	for value := range x.Request.Header.Values(h.Name) {
		if valueFits(h, re, value) != strict {
			return !strict
		}
	}
	return strict
}

func valueFits(h discovery.HeaderMatch, re *regexp.Regexp, value string) bool {
	fold := func(s string) string {
		if h.IgnoreCase {
			return strings.ToLower(s)
		}
		return s
	}
	switch {
	case h.Exact != "":
		return fold(value) == fold(h.Exact)
	case h.Prefix != "":
		return strings.HasPrefix(fold(value), fold(h.Prefix))
	case h.Suffix != "":
		return strings.HasSuffix(fold(value), fold(h.Suffix))
	case h.Contains != "":
		return strings.Contains(fold(value), fold(h.Contains))
	case re != nil:
		return re.MatchString(value)
	}
	return h.Present
}
