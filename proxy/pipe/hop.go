package pipe

import (
	"net/http"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// hopByHop are the connection's own fields (RFC 9110 section 7.6.1).
var hopByHop = [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "TE", "Transfer-Encoding",
	"Upgrade", "Proxy-Authenticate", "Proxy-Authorization"}

// framing are fields that engines write themselves; a second copy would let
// the next hop see another message than was checked.
var framing = [...]string{"Host", "Content-Length"}

// dropConnection takes off the connection's own fields and those that its
// Connection field nominates. It is done as a message is received, before
// anything is added to it. "TE: trailers" stays in a request: gRPC needs it on
// every hop. What a proxy before us says of the client stays too: a client must
// not have its address taken off by nominating the field (CVE-2022-31813).
func dropConnection(h *exchange.Fields, request bool) {
	trailers := request && h.HasToken("TE", "trailers")
	if h.Has("Connection") {
		nominated := h.Joined("Connection")
		for name := range strings.SplitSeq(nominated, ",") {
			if name = strings.Trim(name, " \t"); name != "" && !claims(name) {
				h.Del(name)
			}
		}
	}
	dropNames(h, hopByHop[:], "")
	if trailers {
		h.Add("TE", "trailers")
	}
}

// dropNames takes off every line with one of names, except spare.
func dropNames(h *exchange.Fields, names []string, spare string) {
	h.Filter(func(name, _ string) bool {
		for _, n := range names {
			if exchange.EqualFold(name, n) {
				return n == spare
			}
		}
		return true
	})
}

// leaving takes off an answer what is the engines' to say, should a filter have
// set it.
func leaving(x *exchange.Exchange) {
	spare := ""
	if x.Response.Status == http.StatusSwitchingProtocols {
		spare = "Upgrade"
	}
	dropNames(&x.Response.Header, hopByHop[:], spare)
	dropNames(&x.Response.Header, framing[:], "")
}

// received cleans an answer as it comes from the service, so that filters see
// and store what is meant for everybody, and what they add stays.
func received(x *exchange.Exchange) {
	h := &x.Response.Header
	protocol := h.Get("Upgrade")
	dropConnection(h, false)
	if x.Response.Status == http.StatusSwitchingProtocols && protocol != "" {
		h.Set("Upgrade", protocol)
	}
	h.Add("Via", "1.1 lintel")
}
