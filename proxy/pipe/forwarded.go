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

// Believed reports whether the caller's word for how long it waits counts.
func Believed(x *exchange.Exchange, trusted Prefixes, edge bool) bool {
	return !edge || trusted.contains(x.Client.Remote.Addr())
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

// claims reports whether a field of that name speaks of the client's
// connection: the X-Forwarded family, and what proxies and content networks call
// the same things. Separators are alike: many a service reads X_Forwarded_For as
// X-Forwarded-For. The first letter is looked at first; nearly every field ends
// there.
func claims(name string) bool {
	const family = "x-forwarded-"
	if name == "" {
		return false
	}
	switch name[0] | 0x20 {
	case 'f':
		return exchange.SameName(name, "forwarded")
	case 't':
		return exchange.SameName(name, "true-client-ip")
	case 'c':
		return exchange.SameName(name, "cf-connecting-ip")
	case 'x':
		if len(name) >= len(family) && exchange.SameName(name[:len(family)], family) {
			return true
		}
		switch len(name) {
		case len("x-real-ip"):
			return exchange.SameName(name, "x-real-ip")
		case len("x-client-ip"):
			return exchange.SameName(name, "x-client-ip")
		case len("x-original-host"):
			return exchange.SameName(name, "x-original-host")
		case len("x-original-method"):
			return exchange.SameName(name, "x-original-method")
		case len("x-cluster-client-ip"):
			return exchange.SameName(name, "x-cluster-client-ip")
		}
	}
	return false
}

// dropClaims takes off whatever claims of the client's connection there are.
func dropClaims(h *exchange.Fields) {
	for i := range h.Len() {
		if claims(h.At(i).Name) {
			h.Filter(func(name, _ string) bool { return !claims(name) })
			return
		}
	}
}

// forwarded tells the service about the client's connection, remote. What
// strangers said of it is gone by now; what trusted proxies say is kept and added
// to.
func forwarded(x *exchange.Exchange, remote netip.Addr, stranger bool) {
	h := &x.Request.Header
	from := "unknown" // RFC 7239 section 6.2: a unix socket has no address
	if remote.IsValid() {
		var buf [48]byte // the longest address has 45 bytes
		from = h.Own(remote.AppendTo(buf[:0]))
	}
	proto := x.Request.Scheme
	if stranger {
		h.Set("X-Forwarded-For", from)
		h.Set("X-Forwarded-Proto", proto)
		h.Set("X-Forwarded-Host", x.Request.Authority)
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
