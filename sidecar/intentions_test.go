package sidecar

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/discovery"
)

// Explain says which rule, intention and permission decided, of what is let
// through too.
func TestWhatDecidedIsTold(t *testing.T) {
	in := given(t, discovery.Intentions{DefaultAllow: true, List: []discovery.Intention{
		{Source: "jobs"},
		{Source: "web", Perms: []discovery.Permission{{PathPrefix: "/admin"}, {Allow: true, PathPrefix: "/"}}},
		{Source: "only", Perms: []discovery.Permission{{Allow: true, PathExact: "/x"}}},
	}})
	id := func(service string) string { return strings.Replace(webID, "/svc/web", "/svc/"+service, 1) }
	p, err := newPolicy("orders", config.Policy{Intentions: true, Default: "consul", Allow: []config.Allow{{From: []string{"ingress"}}}}, consulIdentity(t), in)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ peer, path, says string }{
		{id("ingress"), "/", "sidecar.policy.allow[0] allows " + id("ingress")},
		{webID, "/a", "permission 2 of 2 of the intention for web allows it"},
		{webID, "/admin/x", "permission 1 of 2 of the intention for web denies it"},
		{id("only"), "/", "no permission of the intention for only fits"},
		{id("jobs"), "/", "the intention for jobs denies it"},
		{id("other"), "/", "no intention names it, and Consul's default allows"},
		{"spiffe://partner.example/svc/web", "/", "intentions speak of the own trust domain only"},
	} {
		x := call(c.peer, "GET", c.path)
		x.Shadow = true
		if got := p.Account(x); !strings.HasSuffix(got, c.says) {
			t.Errorf("%s %s: %q, want %q", c.peer, c.path, got, c.says)
		}
	}
}

// A caller whom nobody lets in is told of that, not of what would be required
// on top: the account is of what decided.
func TestAccountFollowsTheDecision(t *testing.T) {
	p, err := newPolicy("orders", config.Policy{Allow: []config.Allow{{From: []string{"web"}}}, Require: []config.Require{{DirectFrom: []string{"ingress"}}}},
		consulIdentity(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(webID, "/svc/web", "/svc/other", 1)
	if got := p.Account(call(other, "GET", "/")); got != "no allow rule fits "+other {
		t.Error(got)
	}
	if got := p.Account(call(webID, "GET", "/")); !strings.HasPrefix(got, "require[0]") {
		t.Error(got)
	}
}

// Federated datacenters share the trust domain, and Consul's intentions name no
// datacenter: what denies web denies the web of another datacenter too.
func TestIntentionsAreForEveryDatacenter(t *testing.T) {
	in := given(t, discovery.Intentions{DefaultAllow: true, List: []discovery.Intention{{Source: "web"}, {Source: "*", Allow: true}}})
	far := func(service, dc string) string {
		place, _, ok := sansDatacenter(webID)
		if !ok {
			t.Fatal(webID)
		}
		return place + "/" + dc + "/svc/" + service
	}
	for peer, want := range map[string]bool{
		webID: false, far("web", "elsewhere"): false, far("web", "dc"): false, far("web", "svc"): false,
		far("other", "elsewhere"): true, far("webb", "elsewhere"): true,
		strings.Replace(far("web", "elsewhere"), "/ns/default/", "/ns/team/", 1): true, // another service
	} {
		if got := in.decide(call(peer, "GET", "/"), true); got.allowed != want {
			t.Errorf("%s: %s", peer, got)
		}
	}
}

func TestDecidingAllocatesNothing(t *testing.T) {
	in := given(t, discovery.Intentions{List: []discovery.Intention{
		{Source: "jobs"}, {Source: "web", Perms: []discovery.Permission{
			{PathPrefix: "/admin"}, {PathRegex: "/[0-9]+"}, {Allow: true, PathPrefix: "/orders", Methods: []string{"GET"}}}}}})
	p, err := newPolicy("orders", config.Policy{Intentions: true}, consulIdentity(t), in)
	if err != nil {
		t.Fatal(err)
	}
	x := call(webID, "GET", "/orders/7")
	if n := testing.AllocsPerRun(100, func() {
		if p.OnRequest(x).Fault() != nil {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkIntentions(b *testing.B) {
	in := &intentions{id: consulIdentity(b)}
	in.state.Store(in.compile(discovery.Intentions{List: []discovery.Intention{
		{Source: "jobs"}, {Source: "web", Perms: []discovery.Permission{{PathPrefix: "/admin"}, {Allow: true, Methods: []string{"GET"}}}}}}))
	x := call(webID, "GET", "/orders/7")
	b.ReportAllocs()
	for b.Loop() {
		if !in.decide(x, false).allowed {
			b.Fatal("refused")
		}
	}
}

// What Consul may ask for and Lintel does not do is told loudly, once for each
// change, since it denies.
func TestWhatIsNotSupportedIsLogged(t *testing.T) {
	answers := map[string]any{
		"/v1/connect/intentions/match": map[string]any{"orders": []map[string]any{{"SourceName": "web", "Permissions": []map[string]any{
			{"Action": "allow", "JWT": map[string]any{"Providers": []map[string]any{{"Name": "okta"}}}},
			{"Action": "allow", "HTTP": map[string]any{"PathRegex": "(?=x)"}}}}}},
		"/v1/agent/connect/ca/roots":           map[string]any{"TrustDomain": "td.consul", "Roots": []any{}},
		"/v1/agent/connect/authorize":          map[string]any{"Authorized": true},
		"/v1/config/service-intentions/orders": map[string]any{"Kind": "service-intentions", "Name": "orders", "JWT": map[string]any{"Providers": []map[string]any{{"Name": "okta"}}}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("index") != "" {
			<-r.Context().Done()
			return
		}
		answer, ok := answers[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("X-Consul-Index", "7")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer server.Close()
	consul, err := discovery.NewConsul(discovery.ConsulConfig{Address: server.URL, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer consul.Close()
	var mu sync.Mutex
	var log bytes.Buffer
	told := make(chan struct{}, 16)
	in := &intentions{id: consulIdentity(t)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		in.follow(t.Context(), consul, "orders", slog.New(slog.NewTextHandler(writes(func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			log.Write(b)
			told <- struct{}{}
		}), nil)))
	}()
	for range 4 { // in force, and three that are not supported
		<-told
	}
	mu.Lock()
	says := log.String()
	mu.Unlock()
	for _, part := range []string{"level=ERROR", "a JWT provider for every request", "permission 1 of the intention for web: a JWT provider", "permission 2 of the intention for web: an expression that is not RE2"} {
		if !strings.Contains(says, part) {
			t.Errorf("the log lacks %q:\n%s", part, says)
		}
	}
	if r := in.decide(call(webID, "GET", "/"), true); r.allowed || !strings.Contains(r.String(), "JWT provider") {
		t.Errorf("%t, %s", r.allowed, r)
	}
	t.Cleanup(func() { <-done })
}

type writes func([]byte)

func (w writes) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}
