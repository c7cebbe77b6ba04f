package config

import (
	"strings"
	"testing"
)

func TestWhatCannotBeMeantIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"deadline: {from: [X-Request-Timeout, Content-Length]}":                     "deadline.from[1]: Content-Length says how",
		"deadline: {to: grpc-timeout}":                                              "deadline.to: grpc-timeout says how",
		"services: {a: {static: [\"a:1\"], concurrency: {adaptive: true, max: 3}}}": "services.a.concurrency.min: is more than max",
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
