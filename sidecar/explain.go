package sidecar

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/route"
)

// Explain says what becomes of a call that the app makes, by a file alone. Who may
// call the app hangs on identities and intentions, which a running sidecar knows.
func Explain(s *config.Snapshot, r admin.ExplainRequest) (route.Explanation, error) {
	if r.Peer != "" {
		return route.Explanation{}, errors.New("who may call the app depends on this sidecar's identity and on Consul's intentions: ask a running one, by --address")
	}
	c, err := offline(s)
	if err != nil {
		return route.Explanation{}, err
	}
	o, err := c.opaque(s)
	if err != nil {
		return route.Explanation{}, err
	}
	defer o.lease.Release()
	t, err := c.outbound(s, txntoken.NewMemory(1))
	if err != nil {
		return route.Explanation{}, err
	}
	return explainOutbound(s.Sidecar, o, t, r, false)
}

// explain is asked of a running sidecar.
func (c *Sidecar) explain(r admin.ExplainRequest) (any, error) {
	if r.Peer == "" {
		return explainOutbound(c.cfg, c.opaque.Load(), c.out.Acquire(), r, true)
	}
	if e, ok := c.opaque.Load().explainCaller(c.cfg.Service, r.Peer); ok {
		return e, nil
	}
	// who proves an identity calls the app
	return compose.Explain(c.in.Acquire(), compose.Entrance{Listener: meshListener, Path: compose.PathMode(c.cfg.Path), TLS: true, Live: true}, r)
}

// explainOutbound is about a call of the app's, by a table which it releases.
func explainOutbound(cfg *config.Sidecar, o *opaque, t *route.Table, r admin.ExplainRequest, live bool) (route.Explanation, error) {
	in := compose.Entrance{Listener: outboundListener, Path: compose.PathMode(cfg.Path), Live: live}
	names := []string{outboundListener}
	found := r.Listener == "" || r.Listener == outboundListener
	for i, u := range cfg.Upstreams {
		names = append(names, upstreamListener(i)+" ("+u.Service+")")
		if r.Listener != upstreamListener(i) && r.Listener != u.Service {
			continue
		}
		if o.services[u.Service] != nil {
			if t != nil {
				t.Release()
			}
			return o.explainUpstream(upstreamListener(i), u.Service, live), nil
		}
		in.Listener, found = upstreamListener(i), true
		break
	}
	if !found {
		if t != nil {
			t.Release()
		}
		return route.Explanation{}, fmt.Errorf("listener %q does not exist; listeners are %s", r.Listener, strings.Join(names, ", "))
	}
	return compose.Explain(t, in, r)
}

func opaqueStream(listener, name, service, pos string) route.Explanation {
	return route.Explanation{Listener: listener, Route: name, Service: service, Pos: pos, Filters: []route.FilterLine{}, Others: []route.Other{},
		Action: "tcp", Match: "every connection"}
}

// explainUpstream is about a stream of the app's.
func (o *opaque) explainUpstream(listener, service string, live bool) route.Explanation {
	at := slices.IndexFunc(o.snapshot.Sidecar.Upstreams, func(u config.Upstream) bool { return u.Service == service })
	e := opaqueStream(listener, "upstream-"+service, service, o.snapshot.Pos(fmt.Sprintf("sidecar.upstreams[%d]", at)))
	e.Terms = o.services[service].ExplainConnect(&o.forward, live)
	if o.idle > 0 {
		e.Terms = append(e.Terms, route.Term{Kind: "tunnel_idle", Verdict: "the stream is closed when nothing passes for " + o.idle.String()})
	}
	place := outboundPlaces(o.snapshot)
	e.ServicePos = place(service, "")
	for i := range e.Terms {
		e.Terms[i].Pos = place(e.Terms[i].Service, e.Terms[i].Kind)
	}
	return e
}

// explainCaller says whether a caller may connect to the app; false when that speaks
// HTTP.
func (o *opaque) explainCaller(service, peer string) (route.Explanation, bool) {
	if o.policy == nil {
		return route.Explanation{}, false
	}
	e := opaqueStream(meshListener, "inbound", service, o.snapshot.Pos("sidecar"))
	if err := o.policy.connect(peer); err != nil {
		e.Action, e.Status, e.Code, e.Problem = "refused", http.StatusForbidden, "peer-denied", err.Error()
	}
	return e, true
}
