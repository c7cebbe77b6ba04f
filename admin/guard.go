package admin

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
)

// guard keeps web pages out. A browser on this machine reaches loopback too, so
// a page could ask by its own name once that resolves here (DNS rebinding), or
// send a blind cross-site request. The first shows in Host, the second in
// Sec-Fetch-Site and Origin.
func (s *Server) guard(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if !s.knownHost(r) {
			problem(w, http.StatusMisdirectedRequest, "unknown-host",
				fmt.Sprintf("This API is not known as %q. Call it by localhost, its address, or a name configured for it.", r.Host))
			return
		}
		if s.src.Unrouted && proxied(r.Header) {
			problem(w, http.StatusForbidden, "proxied", "This came through a route, and routes come from Consul's KV store here: call this API directly.")
			return
		}
		// Reading is refused across sites as well: a profile costs CPU whether
		// or not the page gets to see it.
		if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
			problem(w, http.StatusForbidden, "cross-site", "Another site's page asked for this.")
			return
		}
		if err := origin.Check(r); err != nil {
			problem(w, http.StatusForbidden, "cross-site", "Another site's page asked for this.")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, bodyBytes)
		next.ServeHTTP(w, r)
	})
}

// proxied reports whether a Lintel has forwarded the request: it says so in Via,
// which none of its filters can take off.
func proxied(h http.Header) bool {
	return slices.ContainsFunc(h.Values("Via"), func(v string) bool { return strings.Contains(strings.ToLower(v), "lintel") })
}

// knownHost accepts loopback addresses and names, the configured names, and,
// where the API may be reached from elsewhere, any address: rebinding needs a
// name, an address in Host cannot be anyone's page.
func (s *Server) knownHost(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if ip := net.ParseIP(host); ip != nil {
		return s.cfg.AllowNonLoopback || ip.IsLoopback()
	}
	if bound, _, err := net.SplitHostPort(s.cfg.Address); err == nil && host != "" && host == strings.ToLower(bound) {
		return true
	}
	return slices.ContainsFunc(s.cfg.Hosts, func(h string) bool { return host != "" && strings.EqualFold(h, host) })
}
