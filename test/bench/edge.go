package main

import "fmt"

// Edge is what a proxy at the edge is to do, in words of nobody's configuration.
// edge_lintel.go, edge_nginx.go, edge_haproxy.go and edge_caddy.go say it in
// each contender's: tuned as in production, all alike in what is observable.
type Edge struct {
	TLS    bool // TLS 1.3, a P-256 certificate, no resumption
	H2     bool // HTTP/2 by ALPN
	JWT    bool // verify RS256 tokens, limit requests per subject, write an access log
	Cache  bool // keep answers
	Stream bool // large bodies
	WS     bool // forward upgrades
	Bulk   bool // what is below /bulk/ comes from a service of its own
	Routes int  // so many routes, of which the load takes the middle one; Lintel only
}

// edges are the named contenders, all doing the same.
func edges(e Edge, names ...string) []Contender {
	cs := make([]Contender, len(names))
	for i, name := range names {
		cs[i] = e.contender(name)
	}
	return cs
}

func (e Edge) contender(name string) Contender {
	h := Hop{TLS: e.TLS}
	switch name {
	case "lintel":
		h.Program, h.Config = lintelIngress, e.lintel
	case "nginx":
		h.Program, h.Config = nginx, e.nginx
	case "haproxy":
		h.Program, h.Config = haproxy, e.haproxy
	case "caddy":
		h.Program, h.Config = caddy, e.caddy
	default:
		panic(fmt.Sprintf("bench: no contender is called %q", name))
	}
	return Contender{Name: name, Hops: []Hop{h}}
}

// aside marks a contender as reported only.
func aside(c Contender) Contender {
	c.Aside = true
	return c
}
