package discovery

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// narrow is an agent that refuses more than limit questions at a time, as
// Consul does with connections.
type narrow struct {
	mu      sync.Mutex
	limit   int
	now     int
	most    int
	refused int
	version map[string]int // of a service's only endpoint, and the index
	changed chan struct{}
}

func (n *narrow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/status/leader" {
		_, _ = fmt.Fprint(w, `"127.0.0.1:8300"`)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/v1/health/service/")
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.now >= n.limit {
		n.refused++
		http.Error(w, "too many concurrent connections", http.StatusTooManyRequests)
		return
	}
	n.now++
	n.most = max(n.most, n.now)
	defer func() { n.now-- }()
	wait, _ := time.ParseDuration(r.URL.Query().Get("wait"))
	late := time.After(wait)
	for at := r.URL.Query().Get("index"); at == fmt.Sprint(n.version[name]); {
		changed := n.changed
		n.mu.Unlock()
		select {
		case <-changed:
		case <-late:
			at = ""
		case <-r.Context().Done():
			at = ""
		}
		n.mu.Lock()
	}
	w.Header().Set("X-Consul-Index", fmt.Sprint(n.version[name]))
	_, _ = fmt.Fprintf(w, `[{"Node":{"Node":"n","Address":"10.0.0.1"},"Service":{"ID":"i","Service":%q,"Address":"10.0.0.1","Port":%d}}]`, name, n.version[name])
}

func (n *narrow) set(name string, version int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.version[name] = version
	close(n.changed)
	n.changed = make(chan struct{})
}

// watching is a client of an agent. Watches run in running, and end with ctx before
// the client and the agent do.
func watching(t *testing.T, watches int, agent http.Handler) (*Consul, context.Context, *sync.WaitGroup) {
	t.Helper()
	server := httptest.NewServer(agent)
	t.Cleanup(server.Close)
	c, err := NewConsul(ConsulConfig{Address: server.URL, Watches: watches, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithCancel(context.Background())
	running := &sync.WaitGroup{}
	t.Cleanup(func() { cancel(); running.Wait() })
	return c, ctx, running
}

func TestMoreServicesThanSeatsTakeTurns(t *testing.T) {
	const watches, services = 3, 9
	agent := &narrow{limit: 2 * watches, version: map[string]int{}, changed: make(chan struct{})} // it hears late of those that left
	c, ctx, running := watching(t, watches, agent)
	all := make([]seen, services)
	name := func(i int) string { return fmt.Sprintf("svc-%d", i) }
	begin := func(i int) {
		agent.set(name(i), 1000)
		running.Go(func() { _ = c.Watch(ctx, Query{Service: name(i)}, all[i].update) })
		eventually(t, 10*time.Second, name(i)+" is known", all[i].fresh("10.0.0.1:1000"))
	}
	for i := range services { // the first block for minutes, and must leave their seats to the others
		begin(i)
	}
	for i := range services {
		agent.set(name(i), 2000+i)
	}
	for i := range services {
		eventually(t, 10*time.Second, name(i)+" is seen to change", all[i].fresh(fmt.Sprintf("10.0.0.1:%d", 2000+i)))
		for _, u := range all[i].history() {
			if u.Stale {
				t.Errorf("%s was called stale: %v", name(i), u.Err)
			}
		}
	}
	agent.mu.Lock()
	defer agent.mu.Unlock()
	if agent.refused > 0 || agent.most < watches {
		t.Errorf("expected all %d seats in use and no question refused, found at most %d and %d refused", watches, agent.most, agent.refused)
	}
}

// Who is trusted, who may call, and the configuration do not wait until thousands of
// services have had their turns.
func TestTrustAndConfigurationDoNotTakeTurns(t *testing.T) {
	agent := &narrow{limit: 100, version: map[string]int{}, changed: make(chan struct{})}
	var kv, roots atomic.Int64
	index := make(chan struct{}) // closed once both may answer a second time
	first := func(w http.ResponseWriter, r *http.Request, body string) bool {
		w.Header().Set("X-Consul-Index", "7")
		if r.URL.Query().Get("index") == "7" {
			select {
			case <-index:
				w.Header().Set("X-Consul-Index", "8")
			case <-r.Context().Done():
				return false
			}
		}
		_, _ = fmt.Fprint(w, body)
		return true
	}
	c, ctx, running := watching(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1/kv/"):
			if first(w, r, `[{"Key":"edge/a","Value":"eA==","ModifyIndex":7}]`) {
				kv.Add(1)
			}
		case strings.HasPrefix(r.URL.Path, "/v1/agent/connect/ca/roots"):
			if first(w, r, `{"ActiveRootID":"a","TrustDomain":"t","Roots":[{"ID":"a","RootCert":"pem"}]}`) {
				roots.Add(1)
			}
		default:
			agent.ServeHTTP(w, r)
		}
	}))
	for i := range 50 { // each turn lasts a second
		name := fmt.Sprintf("svc-%d", i)
		agent.set(name, 1000)
		running.Go(func() { _ = c.Watch(ctx, Query{Service: name}, func(Update) {}) })
	}
	running.Go(func() { _ = c.WatchKV(ctx, "edge/", func(KV) {}, func(error) {}) })
	running.Go(func() { _ = c.WatchRoots(ctx, func(string, []string) {}) })
	for n := int64(1); n <= 2; n++ {
		began := time.Now()
		eventually(t, 20*time.Second, "both are known", func() bool { return kv.Load() >= n && roots.Load() >= n })
		if took := time.Since(began); took > 15*time.Second { // services take 50
			t.Errorf("known after %v", took)
		}
		if n == 1 {
			close(index)
		}
	}
}

func TestWhoTakesTurns(t *testing.T) {
	c, ctx, running := watching(t, 5, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	running.Go(func() { _ = c.Watch(ctx, Query{Service: "a"}, func(Update) {}) })
	running.Go(func() { _ = c.WatchKV(ctx, "edge/", func(KV) {}, func(error) {}) })
	running.Go(func() { _ = c.WatchRoots(ctx, func(string, []string) {}) })
	running.Go(func() { _ = c.WatchLeaf(ctx, "a", func(_, _ []byte) {}) })
	running.Go(func() { _ = c.WatchIntentions(ctx, "a", func(Intentions) {}) })
	asking := func(s *seats) int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.queries)
	}
	eventually(t, 20*time.Second, "all ask", func() bool { return asking(c.seats)+asking(c.ahead) == 5 })
	if asking(c.seats) != 1 {
		t.Errorf("%d take turns, want the service's endpoints alone", asking(c.seats))
	}
}

func TestAsManyServicesAsSeatsBlockAsLongAsTheyLike(t *testing.T) {
	s := newSeats(2, quiet())
	stay := func(told *error) (time.Duration, func()) {
		return s.stay(time.Minute, func(err error) { *told = err })
	}
	one := s.enter()
	s.enter()
	var first error
	if d, _ := stay(&first); d != time.Minute || first != nil {
		t.Errorf("expected a minute, found %v, %v", d, first)
	}
	s.enter() // a third
	if first == nil {
		t.Error("the one who blocks for a minute was not asked to leave its seat")
	}
	var second error
	if d, _ := stay(&second); d != turn || second != nil {
		t.Errorf("expected %v, found %v, %v", turn, d, second)
	}
	s.leave(one)
	if d, over := stay(&second); d != time.Minute {
		t.Errorf("expected a minute again, found %v", d)
	} else {
		over()
	}
	s.enter()
	if second != nil {
		t.Error("one who has left its seat was asked to leave it")
	}
}

func TestAnAgentThatRefusesConnectionsIsExplained(t *testing.T) {
	server := httptest.NewServer(&narrow{version: map[string]int{}, changed: make(chan struct{})})
	t.Cleanup(server.Close)
	c, err := NewConsul(ConsulConfig{Address: server.URL, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var told error
	_ = c.Watch(ctx, Query{Service: "a"}, func(u Update) { told = u.Err; cancel() })
	if told == nil || !strings.Contains(told.Error(), "http_max_conns_per_client") {
		t.Errorf("expected the agent's limit to be named, found %v", told)
	}
}
