package route

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
)

// Explanation says which route a request takes and why not the others, what
// every filter says of it, and what would be forwarded.
type Explanation struct {
	Method      string       `json:"method"`
	Listener    string       `json:"listener,omitempty"`
	ClientIP    string       `json:"client_ip,omitempty"`
	Host        string       `json:"host"`
	Path        string       `json:"path"` // as matched
	Route       string       `json:"route,omitempty"`
	Pos         string       `json:"position,omitempty"`
	Match       string       `json:"match,omitempty"`
	Params      []ParamLine  `json:"params,omitempty"`
	Removed     int          `json:"removed_headers"` // reserved headers the firewall took off
	Filters     []FilterLine `json:"filters"`
	Action      string       `json:"action"`           // service, redirect, respond, answered, refused; tcp of an opaque stream
	Status      int          `json:"status,omitempty"` // of an answer made here
	Code        string       `json:"code,omitempty"`   // of a refusal
	Problem     string       `json:"problem,omitempty"`
	Location    string       `json:"location,omitempty"` // of a redirect
	Service     string       `json:"service,omitempty"`
	ServicePos  string       `json:"service_position,omitempty"`
	Forward     string       `json:"forward_path,omitempty"`
	Query       string       `json:"forward_query,omitempty"`
	ForwardHost string       `json:"forward_host,omitempty"`
	Changes     []string     `json:"changes,omitempty"` // the route's own
	Terms       []Term       `json:"terms,omitempty"`   // of forwarding, in the order they come to bear
	Assumed     []string     `json:"assumed,omitempty"` // filters that were not asked: what follows takes them to let it pass
	Others      []Other      `json:"others"`
}

// What a cluster says of forwarding.
type (
	Term = cluster.Term
	Case = cluster.Case
)

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

// Asking is what an explanation is asked of: as pipe.Config has it.
type Asking struct {
	Path     Mode
	Believed bool // the caller, about how long it waits
	Live     bool // a running Lintel is asked, and how things stand with it is of interest
}

// Explain runs x's head through the table's filters without forwarding anything.
// It sets x.Shadow, under which they ask nobody and count nothing.
func (t *Table) Explain(x *exchange.Exchange, a Asking) Explanation {
	x.Shadow = true
	e := Explanation{Method: x.Request.Method, Host: x.Request.Authority, Path: x.Request.Path, Listener: x.Client.Listener,
		Action: "refused", Filters: []FilterLine{}, Others: []Other{}}
	if x.ClientIP.IsValid() {
		e.ClientIP = x.ClientIP.String()
	}
	run := shadowed{x: x, e: &e}
	through := run.filters(t.Always)
	e.Removed = x.Removed
	if !through {
		return e
	}
	path, err := NormalizePath(x.Request.Path, a.Path)
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
	e.take(won, x, &run, a)
	return e
}

func (e *Explanation) take(r *Route, x *exchange.Exchange, run *shadowed, a Asking) {
	e.Route, e.Pos, e.Match = r.Name, r.Pos, r.pattern.text
	x.Route, x.Pattern = r.Name, r.pattern.text
	for _, p := range x.Params {
		e.Params = append(e.Params, ParamLine(p))
	}
	if !run.filters(r.Filters) {
		return
	}
	switch {
	case r.Redirect != nil:
		e.Action, e.Status, e.Location = "redirect", r.Redirect.Status, r.Location(x)
	case r.Respond != nil:
		e.Action, e.Status = "respond", r.Respond.Status
	default:
		e.forward(r, x, a)
	}
}

// forward says where x goes and on which terms.
func (e *Explanation) forward(r *Route, x *exchange.Exchange, a Asking) {
	e.Action, e.Forward, e.Query = "service", r.Outgoing(x), x.Request.Query
	if e.ForwardHost = x.Request.Authority; r.RewriteHost != "" {
		e.ForwardHost = r.RewriteHost
	}
	if r.DropAuthorization && x.Request.Header.Has("Authorization") {
		e.Changes = append(e.Changes, "removes Authorization")
	}
	c, fault := r.Cluster, (*exchange.Fault)(nil)
	if c == nil && r.Find != nil {
		c, fault = r.Find(x)
	}
	if fault == nil && len(r.Forward.DeadlineFrom) > 0 {
		fault = cluster.TakeDue(x, &r.Forward, a.Believed)
	}
	switch {
	case fault != nil:
	case c == nil:
		e.Service = e.Host // as it would be looked up
	default:
		e.Service = c.Service()
		fault = e.terms(r, c, x, a)
	}
	e.ServicePos = r.place(e.Service, "")
	if fault != nil {
		e.Action, e.Status, e.Code, e.Problem = "refused", fault.Status, fault.Code, fault.Title+": "+fault.Detail
	}
}

// terms are the cluster's, of x as that gets it, and what the route says of answers.
func (e *Explanation) terms(r *Route, c *cluster.Cluster, x *exchange.Exchange, a Asking) (fault *exchange.Fault) {
	x.Request.Path, x.Request.Authority = e.Forward, e.ForwardHost
	if r.DropAuthorization {
		x.Request.Header.Del("Authorization")
	}
	e.Terms, fault = c.Explain(x, &r.Forward, cluster.Asking{Live: a.Live, Mesh: r.Before != nil})
	if r.StreamIdle > 0 && fault == nil {
		e.Terms = append(e.Terms, Term{Kind: "stream_idle", Verdict: "an answer whose body pauses for " + time.Duration(r.StreamIdle).String() + " is cut"})
	}
	if r.TunnelIdle > 0 && x.Request.Upgrade != "" && fault == nil {
		e.Terms = append(e.Terms, Term{Kind: "tunnel_idle", Verdict: "the connection is closed when nothing passes for " + time.Duration(r.TunnelIdle).String()})
	}
	for i := range e.Terms {
		t := &e.Terms[i]
		t.Pos = r.place(t.Service, t.Kind)
	}
	return fault
}

// place is where a key of the route, or of a service, stands.
func (r *Route) place(service, key string) string {
	if r.Place == nil {
		return ""
	}
	return r.Place(service, key)
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
