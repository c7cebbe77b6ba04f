package cors

import (
	"net/http"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/content"
)

// Filter answers preflights and says on every answer who may read it.
type Filter struct {
	any   bool
	exact map[string]bool
	wide  []wide

	methods, headers, expose, maxAge string
	anyMethod, anyHeader             bool
	credentials, private, refuse     bool
	about                            string
}

// What is kept of a request for its answer.
type decision uint8

const (
	foreign   decision = iota // no origin, or one that is not allowed
	allowed                   // the origin may read the answer
	preflight                 // the answer is ours
)

// OnRequest answers a preflight; other requests pass.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	h := &x.Request.Header
	origin, ok := one(h, "Origin")
	fine := ok && f.allows(origin)
	if filter.Preflight(x) {
		if !fine {
			x.Keep(foreign)
			return filter.Refuse(refusal(origin))
		}
		x.Keep(preflight)
		f.answer(x)
		return filter.Answered
	}
	switch {
	case fine:
		x.Keep(allowed)
	case f.refuse && h.Has("Origin") && !same(x, origin):
		x.Keep(foreign)
		return filter.Refuse(refusal(origin))
	default:
		x.Keep(foreign)
	}
	return filter.Next
}

// AnswersPreflight implements filter.PreflightFilter.
func (f *Filter) AnswersPreflight() {}

// one returns the only value of a field: several say nothing.
func one(h *exchange.Fields, name string) (string, bool) {
	if h.Count(name) != 1 {
		return "", false
	}
	v := h.Get(name)
	return v, v != ""
}

func (f *Filter) allows(origin string) bool {
	if f.any || f.exact[origin] {
		return true
	}
	for i := range f.wide {
		if f.wide[i].matches(origin) {
			return true
		}
	}
	return false
}

// same reports whether the origin is the one that was called: browsers send it
// with their own site's POST too. Behind a proxy that ends TLS the scheme is not
// known here, so only the authority counts.
func same(x *exchange.Exchange, origin string) bool {
	_, host, ok := strings.Cut(origin, "://")
	return ok && exchange.EqualFold(host, x.Request.Authority)
}

func refusal(origin string) *exchange.Fault {
	if len(origin) > 200 {
		origin = origin[:200] + "…"
	}
	return &exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusForbidden, Code: "origin-refused",
		Title: "Origin not allowed", Detail: "pages of " + strings.Clone(origin) + " may not call this", Proxy: "http_request_denied"}
}

// answer fills the answer to a preflight. It lists all that is allowed, so that
// the browser's console names what is not.
func (f *Filter) answer(x *exchange.Exchange) {
	asked := &x.Request.Header
	x.Answer(http.StatusNoContent, "", nil)
	h := &x.Response.Header
	methods := f.methods
	if f.anyMethod {
		methods = asked.Get("Access-Control-Request-Method") // a token, or it is no preflight
	}
	h.Add("Access-Control-Allow-Methods", methods)
	headers := f.headers
	if f.anyHeader {
		// A literal star would not cover Authorization.
		headers = names(asked.Joined("Access-Control-Request-Headers"))
	}
	if headers != "" {
		h.Add("Access-Control-Allow-Headers", headers)
	}
	h.Add("Access-Control-Max-Age", f.maxAge)
	if f.private && asked.Get("Access-Control-Request-Private-Network") == "true" {
		h.Add("Access-Control-Allow-Private-Network", "true")
	}
}

// names returns list if it is a list of field names of bearable length.
func names(list string) string {
	if len(list) > 4<<10 {
		return ""
	}
	for rest, more := list, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, ",")
		if !content.IsToken(exchange.Trim(name)) {
			return ""
		}
	}
	return list
}

// OnResponse says who may read the answer, whoever made it. What the service
// says of its own is replaced: two answers to one question are none.
func (f *Filter) OnResponse(x *exchange.Exchange) {
	d, _ := x.Kept().(decision)
	h := &x.Response.Header
	if d != preflight {
		h.Filter(func(name, _ string) bool { return !ours(name) })
	}
	if f.any {
		h.Add("Access-Control-Allow-Origin", "*") // to everybody, so caches need not ask who
	} else {
		content.Vary(h, "Origin")
		if d != foreign {
			h.Add("Access-Control-Allow-Origin", x.Request.Header.Get("Origin"))
		}
	}
	if d == preflight {
		content.Vary(h, "Access-Control-Request-Method")
		content.Vary(h, "Access-Control-Request-Headers")
	}
	if d == foreign && !f.any {
		return
	}
	if f.credentials {
		h.Add("Access-Control-Allow-Credentials", "true")
	}
	if f.expose != "" && d != preflight {
		h.Add("Access-Control-Expose-Headers", f.expose)
	}
}

// ours reports the answer fields of the protocol.
func ours(name string) bool {
	const family = "access-control-"
	return len(name) > len(family) && exchange.EqualFold(name[:len(family)], family)
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string { return f.about }
