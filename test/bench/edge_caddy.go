package main

import "fmt"

// caddy writes an edge as a Caddyfile. It logs no requests unless told to, sets
// X-Forwarded-* by itself and takes its number of threads from GOMAXPROCS.
func (e Edge) caddy(b *Bench, p Place) string {
	scheme, tls := "http", ""
	protocols := "h1"
	if e.TLS {
		scheme = "https"
		tls = fmt.Sprintf("  tls %s %s {\n    protocols tls1.3\n    curves x25519\n  }\n", b.Cert.Cert, b.Cert.Key)
	}
	if e.H2 {
		protocols = "h1 h2"
	}
	return fmt.Sprintf(`{
  admin off
  auto_https off
  servers {
    protocols %s
  }
}
%s://%s {
%s  reverse_proxy %s {
    transport http {
      keepalive 300s
      keepalive_idle_conns %d
      keepalive_idle_conns_per_host %d
    }
  }
}
`, protocols, scheme, p.Listen, tls, p.Next, max(1024, b.opts.connections), max(128, b.opts.connections))
}
