package examples_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// backend is a service that answers as a test says.
func backend(t *testing.T, h http.HandlerFunc) (addr string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// exchange sends a request with a body ("" for none) and "Name: value" lines,
// over HTTP/1.1 or, with the line ":h2", over HTTP/2. A body of "chunked:…" does
// not say its length.
func (g *gateway) exchange(method, path, body string, lines ...string) answer {
	g.t.Helper()
	text, chunked := strings.CutPrefix(body, "chunked:")
	var r io.Reader
	switch {
	case chunked:
		r = io.MultiReader(strings.NewReader(text))
	case text != "":
		r = strings.NewReader(text)
	}
	req, err := http.NewRequest(method, g.base+path, r)
	if err != nil {
		g.t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	for _, l := range lines {
		if l == ":h2" {
			transport.Protocols = new(http.Protocols)
			transport.Protocols.SetUnencryptedHTTP2(true)
			continue
		}
		name, value, _ := strings.Cut(l, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer{res, string(got)}
}

// engines are the lines that choose each of the two.
var engines = map[string][]string{"HTTP/1.1": nil, "HTTP/2": {":h2"}}
