package pipe

import (
	"strconv"
	"time"

	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/route"
)

// act does what the route says: redirect, respond or forward.
func (p *Pipe) act(x *exchange.Exchange, r *route.Route) *exchange.Fault {
	switch {
	case r.Redirect != nil:
		redirect(x, r)
		return nil
	case r.Respond != nil:
		x.Answer(r.Respond.Status, "", r.Respond.Body)
		for _, f := range r.Respond.Header {
			x.Response.Header.Add(f.Name, f.Value)
		}
		return nil
	}
	c, terms, before := r.Cluster, &r.Forward, r.Before
	if x.Mirror {
		if r.Shadow == nil { // never: a copy must not reach the service itself
			return noAnswer()
		}
		c, terms, before = r.Shadow.Cluster, &r.Shadow.Forward, r.Shadow.Before
	}
	if c == nil {
		var fault *exchange.Fault
		if c, fault = r.Find(x); fault != nil {
			return fault
		}
	}
	if len(r.Forward.DeadlineFrom) > 0 {
		if fault := cluster.TakeDue(x, &r.Forward, Believed(x, p.cfg.Trusted, p.cfg.Edge)); fault != nil {
			return fault
		}
	}
	x.Request.Path = r.Outgoing(x)
	p.outgoing(x, r)
	for _, o := range p.cfg.Observers {
		o.Forward(x)
	}
	x.BeforeWrite = before
	var idle *idleBody
	if r.StreamIdle > 0 {
		idle = idleLimit(x, time.Duration(r.StreamIdle))
	}
	if fault := c.Forward(x, terms); fault != nil {
		return fault
	}
	received(x)
	x.Response.TunnelIdle = time.Duration(r.TunnelIdle)
	if idle != nil && x.Response.Body != nil {
		idle.ReadCloser, x.Response.Body = x.Response.Body, idle
	}
	return nil
}

// instead gives the answer that is configured for when there is none.
func instead(x *exchange.Exchange, fault *exchange.Fault) bool {
	in := fault.Instead
	if in == nil {
		return false
	}
	x.Answer(in.Status, "", in.Body)
	for _, f := range in.Header {
		x.Response.Header.Add(f.Name, f.Value)
	}
	return true
}

func redirect(x *exchange.Exchange, r *route.Route) {
	location := r.Location(x)
	x.Answer(r.Redirect.Status, "", nil)
	x.Response.Header.Set("Location", location)
}

// outgoing makes the request's header fields what the next hop may see.
func (p *Pipe) outgoing(x *exchange.Exchange, r *route.Route) {
	h := &x.Request.Header
	remote := x.Client.Remote.Addr().Unmap().WithZone("")
	stranger := p.cfg.Edge && !p.cfg.Trusted.contains(remote)
	h.Filter(func(name, _ string) bool {
		switch kindOf(name) {
		case ordinary, te: // gRPC's "TE: trailers"
		default:
			// What filters set by mistake: it is framing, or the connection's own.
			return false
		}
		if r.DropAuthorization && exchange.EqualFold(name, "Authorization") {
			return false
		}
		return true
	})
	if p.cfg.Edge {
		forwarded(x, remote, stranger)
	}
	if r.RewriteHost != "" {
		x.Request.Authority = r.RewriteHost
	}
	h.Add("Via", viaValue(x.Request.Proto))
}

// viaValue is this hop's Via member (RFC 9110 section 7.6.3): the version the
// message was received with.
func viaValue(proto string) string {
	switch proto {
	case "HTTP/2.0":
		return "2 lintel"
	case "HTTP/1.0":
		return "1.0 lintel"
	}
	return "1.1 lintel"
}

// retryAfter is whole seconds, never less than the time meant.
func retryAfter(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
