package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Sizes of the backend's answers.
const (
	smallAnswer  = 254
	mediumAnswer = 100 << 10
	largeAnswer  = 1 << 20
)

// Backend answers all contenders: nginx where there is one, since it costs
// least beside the load, else a server in this process. "/" and "/cached/small"
// are 254 bytes, "/cached/100k" and "/file/1m" what they say, "/upload" takes a
// body and answers 254 bytes. What is below /cached may be kept for an hour.
type Backend struct {
	Addr  string // keeps connections
	Close string // closes them after each answer; a port of every address
}

func startBackend(b *Bench) (*Backend, error) {
	be := &Backend{}
	for _, a := range []*string{&be.Addr, &be.Close} {
		var err error
		if *a, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	be.Close = strings.Replace(be.Close, "127.0.0.1", "0.0.0.0", 1)
	dir := filepath.Join(b.dir, "backend")
	if _, ok := b.tools["nginx"]; !ok {
		b.say("backend: one in this process, as nginx is not installed")
		return be, be.serve(b)
	}
	for name, size := range map[string]int{"cached/100k": mediumAnswer, "file/1m": largeAnswer} {
		file := filepath.Join(dir, "files", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, answer(size), 0o644); err != nil {
			return nil, err
		}
	}
	p, err := b.launch(nginx, be.config(dir, len(b.cpus.proxy), int(b.files)), Place{Listen: be.Addr, Dir: dir}, b.cpus.load)
	if err != nil {
		return nil, err
	}
	b.stop = append(b.stop, p.end)
	if _, err := probe(b.ctx, "http://"+be.Addr+"/", nil, 10*time.Second, p.ended); err != nil {
		return nil, fmt.Errorf("backend: %w\n%s", err, p.tail())
	}
	return be, nil
}

func (be *Backend) config(dir string, workers, files int) string {
	locations := fmt.Sprintf(`    client_max_body_size 0;
    client_body_buffer_size 2m;
    root %s/files;
    location / { return 200 "%s"; }
    location = /cached/small { add_header Cache-Control "public, max-age=3600"; return 200 "%s"; }
    location /cached/ { add_header Cache-Control "public, max-age=3600"; }
    location /file/ { }
    location = /upload { # takes the whole body before it answers
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Connection "";
      proxy_http_version 1.1;
      proxy_pass http://itself/;
    }
`, dir, answer(smallAnswer), answer(smallAnswer))
	return nginxMain(dir, workers, files) + fmt.Sprintf(`  open_file_cache max=100;
  upstream itself { server %s; keepalive 256; keepalive_requests 100000000; }
  server {
    listen %s backlog=4096;
%s  }
  server {
    listen %s backlog=4096;
    keepalive_timeout 0;
%s  }
}
`, be.Addr, be.Addr, locations, be.Close, locations)
}

// answer is n bytes of text.
func answer(n int) []byte { return bytes.Repeat([]byte("x"), n) }

// serve is the backend where there is no nginx.
func (be *Backend) serve(b *Bench) error {
	say := func(size int, cached bool) http.HandlerFunc {
		body := answer(size)
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", strconv.Itoa(size))
			if cached {
				w.Header().Set("Cache-Control", "public, max-age=3600")
			}
			_, _ = w.Write(body)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", say(smallAnswer, false))
	mux.HandleFunc("/cached/small", say(smallAnswer, true))
	mux.HandleFunc("/cached/100k", say(mediumAnswer, true))
	mux.HandleFunc("/file/1m", say(largeAnswer, false))
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		say(smallAnswer, false)(w, r)
	})
	for addr, keep := range map[string]bool{be.Addr: true, be.Close: false} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		s := &http.Server{Handler: mux, IdleTimeout: 5 * time.Minute, ReadHeaderTimeout: time.Minute}
		s.SetKeepAlivesEnabled(keep)
		b.stop = append(b.stop, func() { _ = s.Close() })
		go func() { _ = s.Serve(l) }()
	}
	return nil
}
