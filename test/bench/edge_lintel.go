package main

import (
	"fmt"
	"strings"
)

// lintel writes an edge as Lintel's configuration. Nothing that is on by default
// is switched off: header firewall, trace context, metrics, access log, breaker
// and retries are part of what is measured (--match-log excepted).
func (e Edge) lintel(b *Bench, p Place) string {
	var c strings.Builder
	fmt.Fprintf(&c, "version: 1\nlisteners:\n  - name: edge\n    address: %q\n", p.Listen)
	if e.TLS {
		fmt.Fprintf(&c, "    tls:\n      min_version: \"1.3\"\n      certificates: [{cert: %q, key: %q}]\n", b.Cert.Cert, b.Cert.Key)
	}
	fmt.Fprintf(&c, "admin: {address: %q}\n%sroutes:\n", p.Admin, b.lintelLog(e.JWT))
	if e.Routes == 0 {
		fmt.Fprintf(&c, "  - name: all\n    service: app\n%s", e.filters(b))
	}
	for i := range e.Routes {
		fmt.Fprintf(&c, "  - name: api-%d\n    match: {path: %s/*}\n    service: app\n", i, routePath(i))
	}
	if e.Bulk {
		c.WriteString("  - name: bulk\n    match: {path: /bulk/*}\n    service: bulk\n")
	}
	fmt.Fprintf(&c, "services:\n  app: {static: %q%s}\n", p.Next, b.maxIdle())
	if e.Bulk {
		fmt.Fprintf(&c, "  bulk: {static: %q%s}\n", b.Bulk, b.maxIdle())
	}
	return c.String()
}

func (e Edge) filters(b *Bench) string {
	var list []string
	if e.JWT {
		list = append(list,
			fmt.Sprintf("jwt: {iss: %q, audiences: %q, keys: [{file: %q}]}", issuer, audience, b.Tokens.PublicKey),
			// A million a second: counted, and never reached.
			"rate_limit: {requests: 60000000, window: 1m, key: [subject]}")
	}
	if e.Cache {
		list = append(list, "cache: {max_bytes: 256MiB}")
	}
	if list == nil {
		return ""
	}
	return "    filters:\n      - " + strings.Join(list, "\n      - ") + "\n"
}

// lintelLog leaves the access log as it is by default, unless the run was asked
// to match peers that write none.
func (b *Bench) lintelLog(wanted bool) string {
	if b.opts.matchLog && !wanted {
		return "tracing: {access_log: {format: \"off\"}}\n"
	}
	return ""
}

// maxIdle keeps a connection for every client, as the peers are told to.
func (b *Bench) maxIdle() string {
	if n := b.opts.connections; n > 1024 {
		return fmt.Sprintf(", max_idle: %d", n)
	}
	return "" // 1024 by default
}
