package main

import (
	"fmt"
	"strings"
)

// haproxy writes an edge as HAProxy's configuration.
func (e Edge) haproxy(b *Bench, p Place) string {
	bind := p.Listen
	var front, back strings.Builder
	if e.TLS {
		bind += " ssl crt " + b.Cert.Both
		if e.H2 {
			bind += " alpn h2"
		}
	}
	log := ""
	if e.JWT {
		log = "  log stdout format raw local0\n"
		front.WriteString("  log global\n  option httplog\n")
		front.WriteString(haproxyJWT(b.Tokens.PublicKey))
	}
	if e.Cache {
		front.WriteString("  http-request cache-use answers\n")
		back.WriteString("  http-response cache-store answers\n")
	}
	if e.Stream {
		front.WriteString("  option splice-auto\n")
		back.WriteString("  option splice-auto\n")
	}
	bulk := ""
	if e.Bulk {
		front.WriteString("  use_backend bulk if { path_beg /bulk/ }\n")
		bulk = fmt.Sprintf("backend bulk\n  http-reuse always\n%s  server bulk1 %s\n", back.String(), b.Bulk)
	}
	cache := ""
	if e.Cache {
		cache = "cache answers\n  total-max-size 256\n  max-object-size 1000000\n  max-age 3600\n"
	}
	return haproxyGlobal(b, log) + cache + fmt.Sprintf(`frontend edge
  bind %s
  option forwardfor
%s  http-request set-header X-Forwarded-Proto %%[ssl_fc,iif(https,http)]
  default_backend app
backend app
  http-reuse always
%s  server app1 %s
`, bind, front.String(), back.String(), p.Next) + bulk
}

// haproxyGlobal begins a configuration: TLS 1.3 with X25519 and no resumption,
// like everybody's. HAProxy reckons with two descriptors per connection and more,
// and would not start where it may have fewer; idle ones need but one. (HAProxy
// 2.6 still sends two tickets that lead nowhere, and cannot be told not to.)
func haproxyGlobal(b *Bench, log string) string {
	return fmt.Sprintf(`global
  nbthread %d
  maxconn %d
  no strict-limits
%s  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
  ssl-default-bind-curves X25519
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-server-options ssl-min-ver TLSv1.3 no-tls-tickets
  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
  tune.ssl.cachesize 0
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout tunnel 300s
  timeout http-keep-alive 300s
`, b.opts.cores, max(1000, min(int(b.files)-500, 20000)), log)
}

// haproxyJWT checks what Lintel's jwt and rate_limit filters check: algorithm,
// signature, issuer, audience, expiry; then the rate of the subject. The
// credential that was consumed is removed.
func haproxyJWT(key string) string {
	return fmt.Sprintf(`  http-request deny deny_status 401 unless { req.hdr(authorization) -m found }
  http-request set-var(txn.alg) http_auth_bearer,jwt_header_query('$.alg')
  http-request set-var(txn.iss) http_auth_bearer,jwt_payload_query('$.iss')
  http-request set-var(txn.aud) http_auth_bearer,jwt_payload_query('$.aud')
  http-request set-var(txn.exp) http_auth_bearer,jwt_payload_query('$.exp','int')
  http-request set-var(txn.sub) http_auth_bearer,jwt_payload_query('$.sub')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless { var(txn.alg) -m str RS256 }
  http-request deny deny_status 401 unless { var(txn.iss) -m str %s }
  http-request deny deny_status 401 unless { var(txn.aud) -m str %s }
  http-request deny deny_status 401 if { var(txn.exp),sub(txn.now) -m int lt 0 }
  http-request deny deny_status 401 unless { http_auth_bearer,jwt_verify(txn.alg,"%s") -m int 1 }
  stick-table type string len 64 size 100k expire 2m store http_req_rate(1m)
  http-request track-sc0 var(txn.sub)
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 60000000 }
  http-request del-header Authorization
`, issuer, audience, key)
}
