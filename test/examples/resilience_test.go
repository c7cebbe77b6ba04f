package examples_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/cluster"
)

func (g *gateway) post(path, body string, h http.Header) answer {
	g.t.Helper()
	req, err := http.NewRequest(http.MethodPost, g.base+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header = h
	res, err := g.client.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer{res, string(b)}
}

func TestResilienceExample(t *testing.T) {
	var sick atomic.Bool
	hold := make(chan struct{})
	prices := newHandler(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/prices/slow" {
			<-hold
		}
		_, _ = io.WriteString(w, "price, "+r.Header.Get("X-Request-Timeout-Ms")+" left")
	})
	var asked [2]atomic.Int64
	orders := func(i int) *service {
		return newHandler(t, func(w http.ResponseWriter, r *http.Request) {
			asked[i].Add(1)
			if i == 0 && sick.Load() {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			b, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, r.Method+" "+string(b))
		})
	}
	a, b := orders(0), orders(1)
	g := start(t, "resilience.yaml", map[string]string{"PRICES": prices.addr(), "ORDERS_A": a.addr(), "ORDERS_B": b.addr()})

	t.Run("a caller's deadline", func(t *testing.T) {
		got := g.get("/prices/a", "", "X-Request-Timeout: 0.5")
		if left, err := time.ParseDuration(strings.Fields(got.body)[1] + "ms"); err != nil || left > 500*time.Millisecond || left < 10*time.Millisecond {
			t.Errorf("%d %q", got.StatusCode, got.body)
		}
		if got := g.get("/prices/a", "", "X-Request-Timeout: soon"); got.StatusCode != 400 || !strings.Contains(got.body, "bad-deadline") {
			t.Errorf("%d %q", got.StatusCode, got.body)
		}
		if got := g.get("/prices/slow", "", "X-Request-Timeout-Ms: 30"); got.StatusCode != 504 || !strings.Contains(got.body, `"timeout"`) {
			t.Errorf("%d %q", got.StatusCode, got.body)
		}
	})

	t.Run("a full service", func(t *testing.T) {
		results := make(chan int, 2)
		for range 2 {
			go func() { results <- g.get("/prices/slow", "").StatusCode }()
		}
		refused := g.get("/prices/a", "") // waits its turn until both places are taken
		for range 100 {
			if refused.StatusCode == http.StatusServiceUnavailable {
				break
			}
			refused = g.get("/prices/a", "")
		}
		if refused.StatusCode != http.StatusServiceUnavailable || !strings.Contains(refused.body, "service-overloaded") || refused.Header.Get("Retry-After") == "" {
			t.Errorf("%d %q", refused.StatusCode, refused.body)
		}
		close(hold)
		for range 2 {
			if status := <-results; status != 200 {
				t.Errorf("one in progress got %d", status)
			}
		}
	})

	t.Run("an endpoint that fails is left out", func(t *testing.T) {
		sick.Store(true)
		for range 60 {
			if got := g.get("/orders/1", ""); got.StatusCode != 200 {
				t.Fatalf("%d %q", got.StatusCode, got.body)
			}
		}
		if n := asked[0].Load(); n < 3 || n > 6 {
			t.Errorf("the failing endpoint was asked %d times, want 3", n)
		}
		sick.Store(false)
	})

	t.Run("a fallback answer", func(t *testing.T) {
		prices.Close()
		for range 5 {
			if got := g.get("/prices/a", ""); got.StatusCode != 200 || got.body != `{"prices":[]}` || got.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %q", got.StatusCode, got.body)
			}
		}
	})
}

// One endpoint that does not answer is not waited for by what may be sent twice.
func TestResilienceExampleDoesNotWaitForOneEndpoint(t *testing.T) {
	var hung atomic.Int64
	hangs := newHandler(t, func(w http.ResponseWriter, r *http.Request) {
		hung.Add(1)
		select {
		case <-r.Context().Done():
		case <-time.After(1500 * time.Millisecond):
			_, _ = io.WriteString(w, "late")
		}
	})
	answers := newHandler(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "here") })
	g := start(t, "resilience.yaml", map[string]string{"ORDERS_A": hangs.addr(), "ORDERS_B": answers.addr()})
	for hung.Load() < 2 { // its breaker opens after three
		if got := g.get("/orders/1", ""); got.StatusCode != 200 || got.body != "here" {
			t.Fatalf("%d %q", got.StatusCode, got.body)
		}
	}
	for hung.Load() < 3 {
		if got := g.post("/orders/1", "buy", http.Header{}); got.StatusCode != 200 || hung.Load() == 3 && got.body != "late" {
			t.Fatalf("%d %q", got.StatusCode, got.body)
		}
	}
}

// A POST is sent again only when it has an Idempotency-Key.
func TestResilienceExampleAsksAgainWithAKey(t *testing.T) {
	var n atomic.Int64
	flaky := newHandler(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if n.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = io.WriteString(w, r.Method+" "+string(b))
	})
	g := start(t, "resilience.yaml", map[string]string{"PRICES": flaky.addr(), "ORDERS_A": flaky.addr(), "ORDERS_B": flaky.addr()})
	if got := g.post("/orders/1", "buy", http.Header{"Idempotency-Key": {"k"}}); got.StatusCode != 200 || got.body != "POST buy" {
		t.Errorf("%d %q", got.StatusCode, got.body)
	}
	if got := g.post("/orders/1", "buy", http.Header{}); got.StatusCode != http.StatusTooManyRequests || n.Load() != 3 {
		t.Errorf("%d %q after %d", got.StatusCode, got.body, n.Load())
	}
}

// A gRPC call is sent again on a trailers-only UNAVAILABLE, with the same message
// and less time.
func TestResilienceExampleRetriesGRPC(t *testing.T) {
	var mu sync.Mutex
	var messages []string
	var left []time.Duration
	stock := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		d, ok := cluster.GRPCTimeout(r.Header.Get("Grpc-Timeout"))
		mu.Lock()
		defer mu.Unlock()
		if messages, left = append(messages, string(b)), append(left, d); !ok || r.ProtoMajor != 2 {
			t.Errorf("%s, grpc-timeout %q", r.Proto, r.Header.Get("Grpc-Timeout"))
		}
		w.Header().Set("Content-Type", "application/grpc")
		if len(messages)%3 != 0 {
			w.Header().Set("Grpc-Status", "14")
			return
		}
		_, _ = io.WriteString(w, "answer")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	}))
	stock.Config.Protocols = new(http.Protocols)
	stock.Config.Protocols.SetUnencryptedHTTP2(true)
	stock.Start()
	t.Cleanup(stock.Close)
	g := start(t, "resilience.yaml", map[string]string{"STOCK": stock.Listener.Addr().String()})

	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	call := func(timeout string) answer {
		// Of unknown length, as gRPC clients send it.
		req, err := http.NewRequest(http.MethodPost, g.base+"/shop.Stock/Get", io.MultiReader(strings.NewReader("mess"), strings.NewReader("age")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Grpc-Timeout": {timeout}}
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer{res, string(b)}
	}
	for n := range 5 {
		if got := call("2S"); got.body != "answer" || got.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("call %d: %d %q %v %v", n, got.StatusCode, got.body, got.Header, got.Trailer)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i, m := range messages {
		if m != "message" || left[i] > 2*time.Second || left[i] < time.Second {
			t.Errorf("attempt %d: %q, %s left", i, m, left[i])
		}
	}
	if len(messages) != 15 || left[1] >= left[0] {
		t.Errorf("%d attempts, left %v", len(messages), left)
	}
	if got := call("2 S"); got.Header.Get("Grpc-Status") != "13" {
		t.Errorf("a malformed timeout: %v", got.Header)
	}
}
