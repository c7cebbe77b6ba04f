package pipe

import (
	"net/netip"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// Prefixes lists trusted addresses.
type Prefixes []netip.Prefix

func (p Prefixes) contains(a netip.Addr) bool {
	a = a.Unmap()
	for _, pre := range p {
		if pre.Contains(a) {
			return true
		}
	}
	return false
}

// client finds the user's address: the connection's, unless that is a trusted
// proxy, which names it in X-Forwarded-For. The list is read from its end, so
// what a stranger wrote in front is never believed.
func (p Prefixes) client(x *exchange.Exchange) netip.Addr {
	addr := x.Client.Remote.Addr().Unmap()
	if !p.contains(addr) {
		return addr
	}
	list := x.Request.Header.Joined("X-Forwarded-For")
	for list != "" {
		last := list
		if i := strings.LastIndexByte(list, ','); i >= 0 {
			last, list = list[i+1:], list[:i]
		} else {
			list = ""
		}
		a, ok := address(strings.Trim(last, " \t"))
		if !ok {
			return addr
		}
		if addr = a; !p.contains(addr) {
			return addr
		}
	}
	return addr
}

// address reads one member of X-Forwarded-For; some proxies add the port.
func address(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone(""), true
}

// otherClaims are what proxies and content networks call the same things.
var otherClaims = [...]string{"forwarded", "x-real-ip", "true-client-ip", "cf-connecting-ip", "x-client-ip",
	"x-cluster-client-ip", "x-original-host", "x-original-method"}

// claims reports whether a field of that name speaks of the client's
// connection. Separators are alike: many a backend reads X_Forwarded_For as
// X-Forwarded-For.
func claims(name string) bool {
	const family = "x-forwarded-"
	if len(name) >= len(family) && exchange.SameName(name[:len(family)], family) {
		return true
	}
	for _, claim := range otherClaims {
		if exchange.SameName(name, claim) {
			return true
		}
	}
	return false
}

// forwarded tells the service about the client's connection. What strangers
// say is replaced; what trusted proxies say is kept and added to.
func (p *Pipe) forwarded(x *exchange.Exchange) {
	h := &x.Request.Header
	remote := x.Client.Remote.Addr().Unmap().WithZone("")
	from := "unknown" // RFC 7239 section 6.2: a unix socket has no address
	if remote.IsValid() {
		from = remote.String()
	}
	proto := x.Request.Scheme
	if !p.cfg.Trusted.contains(remote) {
		h.Filter(func(name, _ string) bool { return !claims(name) })
		h.Add("X-Forwarded-For", from)
		h.Add("X-Forwarded-Proto", proto)
		h.Add("X-Forwarded-Host", x.Request.Authority)
		return
	}
	if before := h.Joined("X-Forwarded-For"); before != "" {
		h.Set("X-Forwarded-For", before+", "+from)
	} else {
		h.Set("X-Forwarded-For", from)
	}
	if !h.Has("X-Forwarded-Proto") {
		h.Set("X-Forwarded-Proto", proto)
	}
	if !h.Has("X-Forwarded-Host") {
		h.Set("X-Forwarded-Host", x.Request.Authority)
	}
	if h.Has("Forwarded") {
		if remote.Is6() {
			from = `"[` + from + `]"`
		}
		h.Set("Forwarded", h.Joined("Forwarded")+", for="+from+";proto="+proto)
	}
}
