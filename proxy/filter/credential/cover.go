package credential

import "lintel.dev/lintel/proxy/exchange"

// Looker is a filter that looks for its credential in a place.
type Looker interface {
	Looks() *Place
}

// Taker is a Looker that says whether it takes a good credential off the request.
type Taker interface {
	Looker
	Takes() bool
}

// Same reports whether both find the same.
func (p *Place) Same(o *Place) bool { return p.Covers(o) && o.Covers(p) }

// Covers reports whether whatever o finds is found in p too: who asks p first
// never asks o.
func (p *Place) Covers(o *Place) bool {
	if o.Header+o.Cookie+o.Query == "" {
		return false
	}
	if o.Cookie != "" && o.Cookie != p.Cookie || o.Query != "" && o.Query != p.Query {
		return false
	}
	if o.Header == "" {
		return true
	}
	if p.Header == "" || !alike(p.Header, o.Header) {
		return false
	}
	return p.Prefix == "" || o.Prefix != "" && exchange.EqualFold(p.Prefix, o.Prefix) && (p.Bare || !o.Bare)
}
