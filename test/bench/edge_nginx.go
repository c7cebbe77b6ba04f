package main

import (
	"fmt"
	"os"
	"strings"
)

// nginx writes an edge as nginx's configuration.
func (e Edge) nginx(b *Bench, p Place) string {
	var server, location strings.Builder
	listen := p.Listen
	if e.TLS {
		listen += " ssl"
		fmt.Fprintf(&server, "    ssl_certificate %s;\n    ssl_certificate_key %s;\n", b.Cert.Cert, b.Cert.Key)
		server.WriteString("    ssl_protocols TLSv1.3;\n    ssl_ecdh_curve X25519;\n    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;\n" +
			"    ssl_session_tickets off;\n    ssl_session_cache off;\n    ssl_conf_command NumTickets 0;\n    ssl_buffer_size 4k;\n")
	}
	if e.H2 {
		listen += " http2"
	}
	connection := `""`
	if e.WS {
		connection = "upgrade"
		location.WriteString("      proxy_set_header Upgrade $http_upgrade;\n      proxy_read_timeout 300s;\n")
	}
	if e.Stream { // in memory, and while it comes in: neither touches the disk
		location.WriteString("      proxy_request_buffering off;\n      proxy_buffers 16 64k;\n      proxy_buffer_size 64k;\n      proxy_busy_buffers_size 256k;\n" +
			"      proxy_max_temp_file_size 0;\n      client_body_buffer_size 128k;\n")
	}
	if e.Cache {
		location.WriteString("      proxy_cache answers;\n      proxy_cache_lock on;\n")
	}
	cache := ""
	if e.Cache {
		cache = fmt.Sprintf("  proxy_cache_path %s/cache levels=1:2 keys_zone=answers:10m max_size=256m inactive=1h use_temp_path=off;\n"+
			"  open_file_cache max=1000 inactive=1h;\n  open_file_cache_valid 1h;\n", p.Dir)
	}
	upstream := func(name, addr string) string {
		return fmt.Sprintf("  upstream %s { server %s; keepalive %d; keepalive_requests 100000000; }\n", name, addr, max(128, b.opts.connections))
	}
	to := func(path, name string) string {
		return fmt.Sprintf(`    location %s {
      proxy_pass http://%s;
      proxy_http_version 1.1;
      proxy_set_header Connection %s;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
%s    }
`, path, name, connection, location.String())
	}
	upstreams, locations := upstream("app", p.Next), to("/", "app")
	if e.Bulk {
		upstreams += upstream("bulk", b.Bulk)
		locations += to("/bulk/", "bulk")
	}
	return nginxMain(p.Dir, b.opts.cores, int(b.files)) + cache + upstreams + fmt.Sprintf(`  server {
    listen %s;
    client_max_body_size 0;
%s%s  }
}
`, listen, server.String(), locations)
}

// nginxMain begins a configuration, up to the inside of http.
func nginxMain(dir string, workers, files int) string {
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n" // the folder is ours alone
	}
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "  %s_temp_path %s/%s;\n", kind, dir, kind)
	}
	return fmt.Sprintf(`%sdaemon off;
worker_processes %d;
pid %s/nginx.pid;
events { worker_connections %d; }
http {
  access_log off;
  default_type text/plain;
  sendfile on;
  keepalive_timeout 300s;
  keepalive_requests 100000000;
%s`, user, workers, dir, max(1024, min(files-100, 65536)), temp.String())
}
