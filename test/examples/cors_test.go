package examples_test

import (
	"net/http"
	"testing"
)

func TestCORSPreflightsAreAnsweredByTheGateway(t *testing.T) {
	api := newService(t)
	g := start(t, "cors.yaml", map[string]string{"API_ADDR": api.addr()})
	for engine, h2 := range engines {
		a := g.exchange("OPTIONS", "/orders/7", "", append(h2, "Origin: https://app.example.com", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")...)
		if h := a.Header; a.StatusCode != 204 || h.Get("Access-Control-Allow-Origin") != "https://app.example.com" || h.Get("Access-Control-Allow-Credentials") != "true" ||
			h.Get("Access-Control-Max-Age") != "3600" || h.Get("Access-Control-Allow-Headers") == "" {
			t.Errorf("%s: %d %v", engine, a.StatusCode, a.Header)
		}
		a = g.exchange("OPTIONS", "/orders/7", "", append(h2, "Origin: https://evil.example", "Access-Control-Request-Method: POST")...)
		if a.StatusCode != 403 || a.Header.Get("Access-Control-Allow-Origin") != "" || a.Header.Get("Vary") != "Origin" {
			t.Errorf("%s: a stranger's preflight: %d %v", engine, a.StatusCode, a.Header)
		}
	}
	if api.count() != 0 {
		t.Errorf("the service was asked %d times by preflights alone", api.count())
	}
	// A method that the route does not take is no preflight of it.
	if a := g.exchange("OPTIONS", "/orders/7", "", "Origin: https://app.example.com", "Access-Control-Request-Method: DELETE"); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a preflight for DELETE: %d", a.StatusCode)
	}
}

func TestCORSRefusalsCanBeReadByPages(t *testing.T) {
	api := newService(t)
	g := start(t, "cors.yaml", map[string]string{"API_ADDR": api.addr()})
	var a answer
	for range 10 {
		if a = g.exchange("GET", "/orders/7", "", "Origin: https://a.preview.example.com"); a.StatusCode == http.StatusTooManyRequests {
			break
		}
		if a.StatusCode != 200 || a.Header.Get("Access-Control-Allow-Origin") != "https://a.preview.example.com" {
			t.Fatalf("%d %v", a.StatusCode, a.Header)
		}
	}
	if h := a.Header; a.StatusCode != 429 || h.Get("Access-Control-Allow-Origin") != "https://a.preview.example.com" || h.Get("Vary") != "Origin" ||
		h.Get("Access-Control-Expose-Headers") != "RateLimit, Link" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	if a := g.exchange("GET", "/fonts/a", ""); a.Header.Get("Access-Control-Allow-Origin") != "*" || a.Header.Get("Vary") != "" {
		t.Errorf("%v", a.Header)
	}
}
