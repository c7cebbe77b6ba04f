package ops_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// A credential in the query is logged nowhere, whoever refuses the request and
// whether a route is found at all, and no Referer carries it on.
func TestACredentialInTheQueryIsNeverLogged(t *testing.T) {
	t.Parallel()
	referers := make(chan string, 16)
	app := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { referers <- r.Referer() })}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = app.Serve(l) }()
	t.Cleanup(func() { _ = app.Close() })
	addr, admin := kit.FreeAddr(t), kit.FreeAddr(t)
	const secret = "s3cretkey"
	file := kit.File(t, "lintel.yaml", strings.NewReplacer("ADDR", addr, "ADMIN", admin, "APP", l.Addr().String()).Replace(`version: 1
listeners: [{name: edge, address: "ADDR"}]
admin: {address: "ADMIN"}
tracing: {access_log: {query: true}}
routes:
  - name: refused
    match: {path: /refused, methods: [GET]}
    filters:
      - ip_filter: {deny: [127.0.0.1]}
      - any_of: [{api_key: {query: api_key}}]
    service: app
  - name: open
    match: {path: /open}
    service: app
services:
  app: {static: ["APP"]}
`))
	p := kit.Start(t, nil, "ingress", "-c", file).Ready(admin)
	ask := func(method, path, referer string, want int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		if referer != "" {
			req.Header.Set("Referer", referer)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s %s: %d, want %d", method, path, res.StatusCode, want)
		}
	}
	ask("GET", "/refused?a=1&api_key="+secret, "", 403)
	ask("GET", "/refused?%61pi_key="+secret+"&b=2", "", 403)
	ask("POST", "/refused?c=3&api_key="+secret, "", 405)
	ask("GET", "/nowhere?d=4;api_key="+secret, "", 404)
	ask("GET", "/open?e=5&api_key="+secret, "https://a.example/page?x=1&api_key="+secret+"&y=2", 200)
	if got := <-referers; got != "https://a.example/page?x=1&y=2" {
		t.Errorf("the service was told Referer %q", got)
	}
	ask("GET", "/open?f=6", "https://a.example/page?x=1", 200)
	if got := <-referers; got != "https://a.example/page?x=1" {
		t.Errorf("another Referer was changed: %q", got)
	}
	awaitText(t, p.Stdout, `f=6`)
	for _, kept := range []string{"a=1", "b=2", "c=3", "d=4", "e=5"} {
		awaitText(t, p.Stdout, kept)
	}
	if out := p.Stdout.String() + p.Stderr.String(); strings.Contains(out, secret) {
		t.Errorf("it is logged:\n%s", out)
	}
}
