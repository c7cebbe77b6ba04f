package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"lintel.dev/lintel/test/kit"
)

// With 60 services on two seats a turn comes every 30 s. What fails or recovers is
// seen long before.
func TestWhatFailsIsSeenBeforeItsTurn(t *testing.T) {
	t.Parallel()
	const services, watches = 60, 2
	agent := kit.StartConsul(t)
	c := client(t, agent, func(cfg *ConsulConfig) { cfg.Watches = watches })
	name := func(i int) string { return fmt.Sprintf("svc-%d", i) }
	address := func(i int) string { return fmt.Sprintf("10.0.0.1:%d", 1000+i) }
	for i := range services {
		agent.Put("/v1/agent/service/register", object{"ID": name(i), "Name": name(i), "Address": "10.0.0.1", "Port": 1000 + i,
			"Check": object{"CheckID": "check-" + name(i), "TTL": "60m", "Status": "passing"}}, nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	all := make([]seen, services)
	for i := range services {
		running.Go(func() { _ = c.Watch(ctx, Query{Service: name(i)}, all[i].update) })
	}
	for i := range services {
		eventually(t, 3*patience, name(i)+" is known", all[i].fresh(address(i)))
	}
	soon := func(what string, ok func() bool) {
		t.Helper()
		began := time.Now()
		eventually(t, 3*patience, what, ok)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s after %v", what, took)
		}
	}
	eventually(t, patience, "checks are followed", func() bool {
		c.ahead.mu.Lock()
		defer c.ahead.mu.Unlock()
		return len(c.ahead.blocking) > 0
	})
	for _, i := range []int{7, 21, 35, 49, 58} {
		agent.Put("/v1/agent/check/fail/check-"+name(i), nil, nil)
		soon(name(i)+" fails", all[i].fresh())
		agent.Put("/v1/agent/check/pass/check-"+name(i), nil, nil)
		soon(name(i)+" recovers", all[i].fresh(address(i)))
	}
	agent.Put("/v1/agent/maintenance?enable=true", nil, nil) // a check of the node, not of a service
	soon("all are gone with their node", func() bool {
		for i := range all {
			if !all[i].fresh()() {
				return false
			}
		}
		return true
	})
}

func TestTheHastenedGoFirstAndOthersInOrder(t *testing.T) {
	s := newSeats(1, quiet())
	var began []string
	var mu sync.Mutex
	var done sync.WaitGroup
	askers := map[string]*asker{}
	enter := func(name string) *asker {
		a := s.enter()
		s.about(a, []string{name, name + "-sidecar-proxy"})
		askers[name] = a
		return a
	}
	wait := func(a *asker, name string) {
		done.Go(func() {
			rise, err := s.sit(context.Background(), a)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			began = append(began, name)
			mu.Unlock()
			rise()
		})
		eventually(t, 5*time.Second, name+" waits", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return slices.Contains(s.waiting, a)
		})
	}
	rise, err := s.sit(context.Background(), enter("first"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		wait(enter(name), name)
	}
	enter("e")
	s.hasten(map[string]bool{"c": true, "d-sidecar-proxy": true, "e": true})
	wait(askers["e"], "e") // it was about to ask
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.sit(gone, s.enter()); !errors.Is(err, context.Canceled) {
		t.Errorf("one that gave up got %v", err)
	}
	rise()
	done.Wait()
	if got := strings.Join(began, ""); got != "cdeab" {
		t.Errorf("went in the order %s, want cdeab", got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken != 0 || len(s.waiting) != 0 {
		t.Errorf("%d seats taken, %d wait", s.taken, len(s.waiting))
	}
}

// Seats are neither lost nor made while many come, go and give up.
func TestSeatsAreCountedRight(t *testing.T) {
	const size = 3
	s := newSeats(size, quiet())
	var now, most atomic.Int64
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			a := s.enter()
			defer s.leave(a)
			s.about(a, []string{fmt.Sprint(i % 4)})
			for n := range 200 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n%7)*20*time.Microsecond)
				if rise, err := s.sit(ctx, a); err == nil {
					if k := now.Add(1); k > size {
						most.Store(k)
					}
					now.Add(-1)
					rise()
				}
				cancel()
				s.hasten(map[string]bool{fmt.Sprint(n % 4): true})
			}
		})
	}
	all.Wait()
	if most.Load() > 0 {
		t.Errorf("%d sat on %d seats", most.Load(), size)
	}
	if s.taken != 0 || len(s.waiting) != 0 || len(s.queries) != 0 {
		t.Errorf("%d taken, %d wait, %d queries", s.taken, len(s.waiting), len(s.queries))
	}
}

func TestChangedChecks(t *testing.T) {
	a, b, both := check{"n", "1", "a", "a1"}, check{"n", "1", "b", "b1"}, check{node: "n", id: "serfHealth"}
	changed := changedChecks(map[check]bool{a: true, both: true}, map[check]bool{b: true, both: true})
	if len(changed) != 2 || !slices.Contains(changed, a) || !slices.Contains(changed, b) {
		t.Errorf("changed: %v", changed)
	}
}

// An answer that comes again is not decoded, and confirms the one before.
func TestTheSameAnswerIsNotDecodedAgain(t *testing.T) {
	const one = `[{"Node":{"Node":"n","Address":"10.0.0.1"},"Service":{"ID":"i","Service":"a","Address":"10.0.0.1","Port":1}}]`
	var body atomic.Value
	var index, status, asked atomic.Int64
	body.Store(one)
	index.Store(5)
	status.Store(200)
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("X-Consul-Index", fmt.Sprint(index.Load()))
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, body.Load().(string))
	}))
	defer agent.Close()
	c, err := NewConsul(ConsulConfig{Address: agent.URL, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := &poll[[]*api.ServiceEntry]{consul: c, before: new(answered), place: c.seats.enter(),
		ask: func(o *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
			return c.passing(Query{Service: "a"}, o)
		}}
	defer c.seats.leave(p.place)
	for _, step := range []struct {
		name, body string
		index      int64
		status     int64
		ask        uint64
		want       string
	}{
		{"the first", one, 5, 200, 0, "decoded"},
		{"the same", one, 5, 200, 5, "same"},
		{"and again", one, 5, 200, 5, "same"},
		{"another under the same index", strings.Replace(one, "10.0.0.1", "10.0.0.2", 2), 5, 200, 5, "decoded"},
		{"the former", one, 5, 200, 5, "decoded"},
		{"the same with a new index", one, 6, 200, 5, "decoded"},
		{"the same", one, 6, 200, 6, "same"},
		{"an error", one, 6, 500, 6, "failed"},
		{"afresh after it", one, 6, 200, 0, "decoded"},
		{"the same", one, 6, 200, 6, "same"},
		{"nothing", "[]\n", 6, 200, 6, "decoded"},
		{"nothing again, to be doubted again", "[]\n", 6, 200, 6, "decoded"},
		{"half of it", one[:40], 7, 200, 6, "failed"},
		{"the same half", one[:40], 7, 200, 0, "failed"},
	} {
		body.Store(step.body)
		index.Store(step.index)
		status.Store(step.status)
		entries, _, err := p.once(t.Context(), step.ask)
		got := "decoded"
		switch {
		case errors.Is(err, errSame):
			got = "same"
		case err != nil:
			got = "failed"
		}
		if got != step.want || (len(entries) == 1) != (got == "decoded" && step.body != "[]\n") {
			t.Errorf("%s: %s with %d entries (%v), want %s", step.name, got, len(entries), err, step.want)
		}
	}
	if asked.Load() != 14 {
		t.Errorf("asked %d times, want 14", asked.Load())
	}
}
