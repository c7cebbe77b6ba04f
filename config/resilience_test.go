package config

import (
	"strings"
	"testing"
	"time"
)

func TestWhatCannotBeMeantIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"deadline: {from: [X-Request-Timeout, Content-Length]}":                     "deadline.from[1]: Content-Length says how",
		"deadline: {to: grpc-timeout}":                                              "deadline.to: grpc-timeout says how",
		"services: {a: {static: [\"a:1\"], concurrency: {adaptive: true, max: 3}}}": "services.a.concurrency.min: is more than max",
		"routes: [{name: r, service: a, hedge: p100}]":                              "routes[0].hedge",
		"routes: [{name: r, service: a, hedge: p5}]":                                "routes[0].hedge",
		"routes: [{name: r, service: a, hedge: p+5}]":                               "routes[0].hedge",
		"routes: [{name: r, service: a, hedge: p49}]":                               "routes[0].hedge",
		"routes: [{name: r, service: a, hedge: soon}]":                              "routes[0].hedge",
		"routes: [{name: r, service: a, hedge: {after: 500us}}]":                    "expected a duration from 1ms to 1m, or p50 to p99, found \"500us\"",
		"routes: [{name: r, service: a, hedge: {after: 2m}}]":                       "found \"2m\"",
		"routes: [{name: r, service: a, hedge: {methods: [PUT]}}]":                  "routes[0].hedge.methods",
	} {
		if _, err := Parse("lintel.yaml", []byte("version: 1\n"+text+"\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v\nwant %s", text, err, want)
		}
	}
	s, err := Parse("lintel.yaml", []byte("version: 1\ndeadline: {from: X-Request-Timeout}\noverload: {}\nservices: {a: {concurrency: {}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	a := s.Services["a"]
	if a.Concurrency.Max != 100 || a.RetryBudget.Ratio != 0.2 || a.RetryBudget.MinPerSecond != 3 || a.Breaker.Per != "service" || s.Overload.Delay == 0 {
		t.Errorf("%+v %+v", a, s.Overload)
	}
}

func TestWhenAHedgeIsLate(t *testing.T) {
	for text, want := range map[string]struct {
		q float64
		d time.Duration
	}{
		"{}": {0.95, 0}, "p50": {0.5, 0}, "p99": {0.99, 0}, "50ms": {0, 50 * time.Millisecond}, "{after: 1m}": {0, time.Minute}, "1.5s": {0, 1500 * time.Millisecond},
		"{after: 1s200ms}": {0, 1200 * time.Millisecond},
	} {
		s, err := Parse("lintel.yaml", []byte("version: 1\nroutes: [{name: r, service: a, hedge: "+text+"}]\nservices: {a: {static: [\"a:1\"]}}\n"))
		if err != nil {
			t.Fatal(err)
		}
		h := s.Routes[0].Hedge
		if q, d, ok := h.Late(); !ok || q != want.q || d != want.d || len(h.Methods) != 2 {
			t.Errorf("%s: %v %v %v", text, q, d, h.Methods)
		}
	}
}
