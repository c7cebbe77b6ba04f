package pipe

import (
	"net/http"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// kind is what a field name means to the pipe. It is found by length first: a
// message's fields are looked at several times on its way, and nearly all of
// them are ordinary.
type kind byte

const (
	ordinary  kind = iota
	hop            // the connection's own (RFC 9110 section 7.6.1)
	nominates      // Connection, which is one too
	te             // so is TE
	upgrade        // and Upgrade
	framing        // engines write it: a second copy would let the next hop see another message than was checked
)

func kindOf(name string) kind {
	switch len(name) {
	case 2:
		return when(name, "TE", te)
	case 4:
		return when(name, "Host", framing)
	case 7:
		return when(name, "Upgrade", upgrade)
	case 10:
		if exchange.EqualFold(name, "Connection") {
			return nominates
		}
		return when(name, "Keep-Alive", hop)
	case 14:
		return when(name, "Content-Length", framing)
	case 16:
		return when(name, "Proxy-Connection", hop)
	case 17:
		return when(name, "Transfer-Encoding", hop)
	case 18:
		return when(name, "Proxy-Authenticate", hop)
	case 19:
		return when(name, "Proxy-Authorization", hop)
	}
	return ordinary
}

func when(name, is string, k kind) kind {
	if exchange.EqualFold(name, is) {
		return k
	}
	return ordinary
}

// kinds is a set of them.
type kinds byte

func (s kinds) has(k kind) bool { return s&(1<<k) != 0 }

// kindsIn tells what h holds besides ordinary fields, in how many lines, and
// where the first is.
func kindsIn(h *exchange.Fields) (set kinds, lines, first int) {
	for i := range h.Len() {
		k := kindOf(h.At(i).Name)
		if k == ordinary {
			continue
		}
		if lines == 0 {
			first = i
		}
		set |= 1 << k
		lines++
	}
	return set, lines, first
}

// dropConnection takes off the connection's own fields and those that its
// Connection field nominates. It is done as a message is received, before
// anything is added to it. "TE: trailers" stays in a request: gRPC needs it on
// every hop. What a proxy before us says of the client stays too: a client must
// not have its address taken off by nominating the field (CVE-2022-31813).
func dropConnection(h *exchange.Fields, request bool) {
	set, lines, first := kindsIn(h)
	if set&^(1<<framing) == 0 {
		return
	}
	trailers := request && set.has(te) && h.HasToken("TE", "trailers")
	nominated := 0
	switch {
	case set.has(nominates) && lines == 1:
		nominated = dropNominated(h, h.At(first).Value)
	case set.has(nominates):
		nominated = dropNominated(h, h.Joined("Connection"))
	}
	if lines == 1 && nominated == 0 {
		h.Remove(first) // "Connection: keep-alive" and nothing else, as most clients and services have it
	} else {
		h.Filter(func(name, _ string) bool {
			k := kindOf(name)
			return k == ordinary || k == framing
		})
	}
	if trailers {
		h.Add("TE", "trailers")
	}
}

// dropNominated takes off what the list names and reports how many lines went.
func dropNominated(h *exchange.Fields, list string) (n int) {
	for rest, more := list, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, ",")
		name = exchange.Trim(name)
		if k := kindOf(name); name == "" || k != ordinary && k != framing || claims(name) {
			continue // the connection's own go anyway
		}
		n += h.Del(name)
	}
	return n
}

// leaving takes off an answer what is the engines' to say, should a filter have
// set it.
func leaving(x *exchange.Exchange) {
	h := &x.Response.Header
	if set, _, _ := kindsIn(h); set == 0 {
		return
	}
	switching := x.Response.Status == http.StatusSwitchingProtocols
	h.Filter(func(name, _ string) bool {
		k := kindOf(name)
		return k == ordinary || k == upgrade && switching
	})
}

// received cleans an answer as it comes from the service, so that filters see
// and store what is meant for everybody, and what they add stays.
func received(x *exchange.Exchange) {
	h := &x.Response.Header
	protocol := ""
	if x.Response.Status == http.StatusSwitchingProtocols {
		protocol = h.Get("Upgrade")
	}
	dropConnection(h, false)
	if protocol != "" {
		h.Set("Upgrade", protocol)
	}
	h.Add("Via", "1.1 lintel")
}
