package route

import (
	"fmt"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Explanation says which route a request takes and why not the others.
type Explanation struct {
	Method  string       `json:"method"`
	Host    string       `json:"host"`
	Path    string       `json:"path"` // as matched
	Forward string       `json:"forward_path,omitempty"`
	Route   string       `json:"route,omitempty"`
	Pos     string       `json:"position,omitempty"`
	Match   string       `json:"match,omitempty"`
	Action  string       `json:"action"` // service, redirect, respond, refused
	Service string       `json:"service,omitempty"`
	Status  int          `json:"status,omitempty"` // of an answer made here
	Filters []FilterLine `json:"filters"`
	Params  []ParamLine  `json:"params,omitempty"`
	Others  []Other      `json:"others"`
	Removed int          `json:"removed_headers"` // reserved headers the firewall took off
	Problem string       `json:"problem,omitempty"`
}

// FilterLine is one filter in the order it runs.
type FilterLine struct {
	Kind     string `json:"kind"`
	Pos      string `json:"position"`
	Settings string `json:"settings,omitempty"`
	Verdict  string `json:"verdict,omitempty"` // on this request, of a filter that can tell
}

// ParamLine is one path parameter.
type ParamLine struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Other is a route not taken.
type Other struct {
	Route string `json:"route"`
	Pos   string `json:"position"`
	Why   string `json:"why"`
}

// Explain runs x's head through the table without forwarding anything.
// x.Shadow must be set: filters that run on every exchange take part.
func (t *Table) Explain(x *exchange.Exchange, mode Mode) Explanation {
	e := Explanation{Method: x.Request.Method, Host: x.Request.Authority, Path: x.Request.Path,
		Action: "refused", Filters: []FilterLine{}, Others: []Other{}}
	for i, in := range t.Always {
		x.UseSlot(i)
		if in.Request != nil {
			in.Request.OnRequest(x)
		}
		e.Filters = append(e.Filters, line(in))
	}
	e.Removed = x.Removed
	path, err := NormalizePath(x.Request.Path, mode)
	if err != nil {
		e.Problem, e.Status = err.Error(), 400
		return e
	}
	x.Request.Path, e.Path = path, path
	host, ok := Host(x.Request.Authority)
	if !ok {
		e.Problem, e.Status = fmt.Sprintf("host %q is not valid", x.Request.Authority), 400
		return e
	}
	e.Host = host
	won := t.Match(x, host)
	for _, r := range t.routes {
		if r != won {
			e.Others = append(e.Others, Other{r.Name, r.Pos, r.whyNot(x, host, won)})
		}
	}
	if won == nil {
		e.Status, e.Problem = 404, "no route matches"
		if allow := t.Allowed(x, host); len(allow) > 0 {
			e.Status, e.Problem = 405, "no route takes this method; allowed: "+strings.Join(allow, ", ")
		}
		return e
	}
	e.take(won, x)
	return e
}

func (e *Explanation) take(r *Route, x *exchange.Exchange) {
	e.Route, e.Pos, e.Match = r.Name, r.Pos, r.pattern.text
	for _, p := range x.Params {
		e.Params = append(e.Params, ParamLine(p))
	}
	x.Route = r.Name
	for _, in := range r.Filters {
		l := line(in)
		if f, ok := in.Filter.(filter.Foreteller); ok {
			l.Verdict = f.Foretell(x)
		}
		e.Filters = append(e.Filters, l)
	}
	switch {
	case r.Redirect != nil:
		e.Action, e.Status = "redirect", r.Redirect.Status
	case r.Respond != nil:
		e.Action, e.Status = "respond", r.Respond.Status
	default:
		e.Action, e.Forward = "service", r.Outgoing(x)
		if r.Cluster != nil {
			e.Service = r.Cluster.Service()
		}
	}
}

func line(in filter.Instance) FilterLine {
	l := FilterLine{Kind: in.Kind, Pos: in.Pos}
	if ex, ok := in.Filter.(filter.Explainer); ok {
		l.Settings = ex.Explain()
	}
	return l
}

// whyNot says in a few words why r was not taken.
func (r *Route) whyNot(x *exchange.Exchange, host string, won *Route) string {
	if why := r.hostReason(host); why != "" {
		return why
	}
	if !r.pattern.Matches(x.Request.Path) {
		return fmt.Sprintf("path %s does not match %s", x.Request.Path, r.pattern.text)
	}
	if !r.served(x) {
		return fmt.Sprintf("it is served only on listeners %s", strings.Join(r.Listeners, ", "))
	}
	if !r.methodMatches(x) {
		return fmt.Sprintf("method %s is not one of %s", x.Request.Method, strings.Join(r.Match.Methods, ", "))
	}
	for _, f := range r.Match.Headers {
		if !headerMatches(x, f) {
			return fmt.Sprintf("header %s is not %q", f.Name, f.Value)
		}
	}
	for _, f := range r.Match.Query {
		if !queryMatches(x.Request.Query, f) {
			return fmt.Sprintf("query parameter %s is not %q", f.Name, f.Value)
		}
	}
	if won == nil {
		return "it matches"
	}
	return "it matches too, but " + won.Name + " is more specific or stands earlier"
}

// hostReason is "" when the host matches.
func (r *Route) hostReason(host string) string {
	if len(r.hosts) == 0 || slices.ContainsFunc(r.hosts, func(m hostMatch) bool { return m.matches(host) }) {
		return ""
	}
	return fmt.Sprintf("host %s is not one of %s", host, strings.Join(r.Match.Hosts, ", "))
}
