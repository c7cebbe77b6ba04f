package examples_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// shares counts who answers n requests.
func shares(g *gateway, n int, path string, lines func(i int) []string) map[string]int {
	out := map[string]int{}
	for i := range n {
		var of []string
		if lines != nil {
			of = lines(i)
		}
		out[g.get(path, "", of...).body]++
	}
	return out
}

func TestWeightedEndpointsGetTheirShares(t *testing.T) {
	_, env := threeOf(t)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	env["DOWN"], env["INTERVAL"], env["TIMEOUT"] = gone.Addr().String(), "150ms", "100ms"
	_ = gone.Close()
	g, admin := startCaching(t, "weighted-endpoints.yaml", env)

	// In turn: exact, wherever the round begins.
	if got := shares(g, 400, "/turns/x", nil); got["ONE"] != 300 || got["TWO"] != 100 {
		t.Errorf("round_robin, 3 and 1: %v", got)
	}
	// By key: every key has its place, three quarters of them (eight standard deviations at most from it) the heavy one.
	places := map[string]string{}
	for i := range 600 {
		key := fmt.Sprint("X-Cart: c", i)
		places[key] = g.get("/carts/x", "", key).body
	}
	heavy := 0
	for key, at := range places {
		if again := g.get("/carts/y", "", key).body; again != at {
			t.Fatalf("%s was at %s, is at %s", key, at, again)
		}
		if at == "ONE" {
			heavy++
		}
	}
	if heavy < 365 || heavy > 535 {
		t.Errorf("consistent_hash, 3 and 1: %d of 600 keys", heavy)
	}
	// By zone: half stays, and the rest goes by weight. A round is of 4000 turns, spread evenly.
	got := shares(g, 600, "/near/x", nil)
	for name, want := range map[string]int{"ONE": 300, "TWO": 200, "THREE": 100} {
		if d := got[name] - want; d < -6 || d > 6 {
			t.Errorf("by zone: %v, want about %d of %s", got, want, name)
		}
	}
	// By tier.
	kit.Eventually(t, 30*time.Second, "failover", func() error {
		if s := stateOf(t, admin, "last"); s.Serving != "1: static" {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if got := shares(g, 400, "/last/x", nil); got["ONE"] != 300 || got["TWO"] != 100 {
		t.Errorf("failover, 3 and 1: %v", got)
	}
	// By side of a split.
	if got := shares(g, 20, "/orders/x", func(int) []string { return []string{"X-Canary: 1"} }); got["THREE"] != 20 {
		t.Errorf("the canary's testers: %v", got)
	}
	got = shares(g, 400, "/orders/x", nil)
	if got["THREE"] < 30 || got["THREE"] > 170 || got["ONE"] < 60 || got["TWO"] < 60 { // of 100, 150 and 150
		t.Errorf("a split of 3 to 1: %v", got)
	}
}

// What is known of an endpoint is shown as of Consul's.
func TestWeightedEndpointsAreShown(t *testing.T) {
	_, env := threeOf(t)
	_, admin := startCaching(t, "weighted-endpoints.yaml", env)
	type endpoint struct {
		Address, Zone string
		Weight        int
		Share         float64
		Tags          []string
	}
	var all []struct {
		Service   string
		Endpoints []endpoint
	}
	if err := json.Unmarshal([]byte(fetchText(t, "http://"+admin+"/services")), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range all {
		for _, e := range s.Endpoints {
			got[s.Service+" "+e.Address] = fmt.Sprintf("%d %.2f %s %v", e.Weight, e.Share, e.Zone, e.Tags)
		}
	}
	one, two, three := env["ONE"], env["TWO"], env["THREE"]
	for key, want := range map[string]string{
		"turns " + one: "3 0.75  []", "turns " + two: "1 0.25  []",
		"near " + one: "1 0.50 eu-1a []", "near " + two: "2 0.33 eu-1b []", "near " + three: "1 0.17 eu-1b []",
		"orders@stable " + two: "1 0.50  [stable]", "orders@stable " + three: "", "orders@version=v2 " + three: "1 1.00  [canary]",
	} {
		if got[key] != want {
			t.Errorf("%s: %q, want %q", key, got[key], want)
		}
	}
}

// Forty requests that nobody answers yet are where the weights say.
func TestWeightedEndpointsShareWhatIsInProgress(t *testing.T) {
	var mu sync.Mutex
	in := map[string]int{}
	open, arrived := make(chan struct{}), make(chan struct{}, 40)
	env := map[string]string{}
	for _, name := range []string{"ONE", "TWO"} {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			mu.Lock()
			in[name]++
			mu.Unlock()
			arrived <- struct{}{}
			<-open
		}))
		t.Cleanup(s.Close)
		env[name] = s.Listener.Addr().String()
	}
	g, _ := startCaching(t, "weighted-endpoints.yaml", env)
	var clients sync.WaitGroup
	for range 40 {
		clients.Go(func() {
			res, err := g.client.Get(g.base + "/shop/x")
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		})
		<-arrived // one after the other: each is chosen for when the others are known to be there
	}
	mu.Lock()
	if in["ONE"] < 27 || in["ONE"] > 33 {
		t.Errorf("least_request, 3 and 1: %v", in)
	}
	mu.Unlock()
	close(open)
	clients.Wait()
}
