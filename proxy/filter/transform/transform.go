package transform

import (
	"net/http"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/headers"
	"lintel.dev/lintel/proxy/filter/template"
)

// Filter changes requests and answers.
type Filter struct {
	path              *template.Template // nil: as it is
	query             *query
	request, response *headers.Rules
	about             string
}

// OnRequest changes what the service receives. All values are taken from the
// request as it came to this filter, path first.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	path := x.Request.Path
	if f.path != nil {
		var room [256]byte
		b, missing := f.path.Append(room[:0], x, template.Path)
		if missing != "" {
			return filter.Refuse(lacking(missing))
		}
		if !normal(string(b)) {
			return filter.Refuse(unfit())
		}
		path = x.Request.Header.Own(b)
	}
	if !f.query.empty() {
		f.query.apply(x)
	}
	f.request.Apply(x, &x.Request.Header)
	x.Request.Path = path
	return filter.Next
}

// PathParams implements filter.ParamFilter.
func (f *Filter) PathParams() []string {
	if f.path == nil {
		return nil
	}
	return f.path.Params()
}

// OnResponse changes what the client receives.
func (f *Filter) OnResponse(x *exchange.Exchange) { f.response.Apply(x, &x.Response.Header) }

// lacking refuses a request of which a part of the new path cannot be made: a
// path with a segment less would name something else.
func lacking(what string) *exchange.Fault {
	fault := &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "value-missing",
		Title: "A value is missing", Detail: "the request has no " + strings.Replace(what, ":", " ", 1) + ", which is needed to forward it"}
	if what == "subject" || what == "consumer" || strings.HasPrefix(what, "claim:") {
		fault.Source, fault.Status = exchange.FromPolicy, http.StatusForbidden
		fault.Detail = "the credentials do not say what is needed to forward the request"
	}
	return fault
}

func unfit() *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "bad-path",
		Title: "Request path is not acceptable", Detail: "a value would be an empty or dot segment of the path to forward"}
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	var parts []string
	if f.about != "" {
		parts = append(parts, f.about)
	}
	if q := f.query; !q.empty() {
		var names []string
		if !q.all {
			names = append(names, "keep "+strings.Join(q.keep, " "))
		}
		for _, n := range q.remove {
			names = append(names, "remove "+n)
		}
		for _, p := range q.rename {
			names = append(names, "rename "+p[0]+" to "+p[1])
		}
		for _, p := range q.set {
			names = append(names, "set "+p.name)
		}
		for _, p := range q.add {
			names = append(names, "add "+p.name)
		}
		parts = append(parts, "query "+strings.Join(names, ", "))
	}
	if !f.request.Empty() {
		parts = append(parts, "request "+f.request.Explain())
	}
	if !f.response.Empty() {
		parts = append(parts, "response "+f.response.Explain())
	}
	if parts == nil {
		return "unchanged"
	}
	return strings.Join(parts, "; ")
}
