package lambda

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a Lambda that keeps what it was given.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []*http.Request
	events [][]byte
}

// answers is what the function does with an event.
type answers = func(w http.ResponseWriter, event map[string]any)

func newService(t testing.TB, do answers) *service {
	t.Helper()
	s := &service{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var event map[string]any
		if err := json.Unmarshal(body, &event); err != nil {
			t.Errorf("the event is no JSON: %v", err)
		}
		s.mu.Lock()
		s.asked, s.events = append(s.asked, r), append(s.events, body)
		s.mu.Unlock()
		do(w, event)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func (s *service) last(t testing.TB) (*http.Request, map[string]any) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		t.Fatal("the function was not invoked")
	}
	var event map[string]any
	if err := json.Unmarshal(s.events[len(s.events)-1], &event); err != nil {
		t.Fatal(err)
	}
	return s.asked[len(s.asked)-1], event
}

// says answers with text.
func says(text string) answers {
	return func(w http.ResponseWriter, _ map[string]any) { _, _ = io.WriteString(w, text) }
}

// policy is an answer of one statement.
func policy(effect, resource, more string) string {
	return `{"principalId":"ada","policyDocument":{"Version":"2012-10-17","Statement":[{"Action":"execute-api:Invoke","Effect":"` +
		effect + `","Resource":"` + resource + `"}]}` + more + `}`
}

func ttl(d time.Duration) *time.Duration { return &d }

func newFilter(t testing.TB, s *service, c Config) *Filter {
	t.Helper()
	if c.Function == "" {
		c.Function = "auth"
	}
	if c.Sign == "" {
		c.Sign = "none"
	}
	c.Endpoint = s.URL
	c.API.Account, c.API.ID, c.API.Stage = "123456789012", "api", "prod"
	lease := store.NewSet().Lease()
	f, err := Kind().Build(&c, &filter.Env{Store: lease, Log: slog.New(slog.DiscardHandler), Route: "r", Consumers: []filter.Consumer{{Name: "shop"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lease.Release)
	return f.(*Filter)
}

func request(method, path, query string, fields ...string) *exchange.Exchange {
	x := &exchange.Exchange{Route: "orders", Pattern: "/orders/{id}", ID: "req-1", ClientIP: netip.MustParseAddr("192.0.2.7")}
	x.Params = []exchange.Param{{Name: "id", Value: "7%7C8"}}
	x.Request.Method, x.Request.Scheme, x.Request.Authority = method, "https", "shop.example.com:8443"
	x.Request.Path, x.Request.Query, x.Request.Proto = path, query, "HTTP/1.1"
	for i := 0; i < len(fields); i += 2 {
		x.Request.Header.Add(fields[i], fields[i+1])
	}
	return x
}

// outcome is a fault's status and code, or 200.
func outcome(v filter.Verdict) (int, string) {
	if f := v.Fault(); f != nil {
		return f.Status, f.Code
	}
	return 200, ""
}
