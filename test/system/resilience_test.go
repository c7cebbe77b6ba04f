package system

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

const (
	stormRequests = 200
	// The mesh answers of a failing app must be retried by one tier alone.
	retrying = "  retries: {attempts: 2, on: [connect, reset, 503], backoff: 1ms, max_backoff: 2ms}\n"
	edgeTry  = `  - name: storm
    match: {path: /storm/*}
    strip_prefix: /storm
    authorization: drop
    service: orders
    retries: {attempts: 2, on: [connect, reset, 503], backoff: 1ms, max_backoff: 2ms}
`
)

// storm sends requests through ingress, orders' sidecar, orders, its sidecar and
// inventory's sidecar to an inventory that always fails, and returns how often
// inventory was asked for each. The app in between fails as what it calls does,
// and passes on headers or not.
func storm(t *testing.T, terms string, forward bool) float64 {
	t.Helper()
	c := kit.StartChain(t, kit.ChainOptions{Routes: edgeTry, Sidecar: retrying, Terms: ", " + terms})
	c.Inventory.App.Extra["/fail"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	c.Orders.App.Extra["/fail"] = func(w http.ResponseWriter, r *http.Request) {
		h := http.Header{}
		if forward {
			h["Traceparent"], h["Tracestate"] = r.Header["Traceparent"], r.Header["Tracestate"]
		}
		status, _, err := c.Orders.App.Ask(r.Context(), "inventory", "/fail", h)
		if err != nil {
			status = http.StatusBadGateway
		}
		w.WriteHeader(status)
	}
	before := c.Inventory.App.Requests.Load()
	for range stormRequests {
		if status, body := c.Get("/storm/fail", ""); status != http.StatusServiceUnavailable {
			t.Fatalf("%d %s", status, body)
		}
	}
	return float64(c.Inventory.App.Requests.Load()-before) / stormRequests
}

// Three tiers, two of which retry twice. Each on its own, they would send nine
// requests for one.
func TestRetryStormStaysUnderTheCap(t *testing.T) {
	const unlimited = "retry_budget: {ratio: 10, min_per_second: 1000}, breaker: {enabled: false}"
	for _, c := range []struct {
		name        string
		budget      string
		forward     bool
		least, most float64
	}{
		// The default budget allows a fifth and 3 a second besides.
		{"the app passes the trace context on", "breaker: {enabled: false}", true, 1.1, 1.5},
		{"the same without a cap: one tier retries", unlimited, true, 2.9, 3.05},
		{"neither a cap nor a trace: every tier retries", unlimited, false, 8.5, 9.05},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := storm(t, c.budget, c.forward)
			t.Logf("%.2f requests for one", got)
			if got < c.least || got > c.most {
				t.Errorf("%.2f requests for one, want %.2f to %.2f", got, c.least, c.most)
			}
		})
	}
}

// Nobody works for a caller that has gone: it is told through ingress, both
// sidecars and the app between them.
func TestACallersDisappearanceReachesTheLastHop(t *testing.T) {
	c := kit.StartChain(t, kit.ChainOptions{})
	relayed(c.Orders.App)
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2.CloseIdleConnections)
	for proto, client := range map[string]http.RoundTripper{"HTTP/1.1": http.DefaultTransport, "HTTP/2": h2} {
		for name, path := range ways("/slow?ms=60000") {
			app := c.Orders.App
			if name == "through the full chain" {
				app = c.Inventory.App
			}
			t.Run(proto+" "+name, func(t *testing.T) { disappear(t, client, "http://"+c.Edge+path, app) })
		}
	}
}

func disappear(t *testing.T, client http.RoundTripper, url string, app *kit.App) {
	asked, gone := app.Requests.Load(), app.Cancelled.Load()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		res, err := client.RoundTrip(req)
		if err == nil {
			_ = res.Body.Close()
			err = fmt.Errorf("answered %d", res.StatusCode)
		}
		ended <- err
	}()
	kit.Eventually(t, limit, "the request arrives", func() error {
		if app.Requests.Load() == asked {
			return errors.New("not yet")
		}
		return nil
	})
	left := time.Now()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	kit.Eventually(t, 5*time.Second, "the last hop hears of it", func() error {
		if app.Cancelled.Load() == gone {
			return errors.New("it still works")
		}
		return nil
	})
	t.Logf("heard of after %s", time.Since(left).Round(time.Millisecond))
}

// What the first route allows is all that the last hop's app gets, whoever is in
// between.
func TestTheDeadlineOfTheEdgeHoldsAtTheLastHop(t *testing.T) {
	c := kit.StartChain(t, kit.ChainOptions{SidecarTop: "deadline: {to: X-Left-Ms}\n", Routes: `  - name: hurried
    match: {path: /hurried/*}
    strip_prefix: /hurried
    authorization: drop
    service: orders
    timeout: 2s
`})
	status, e := c.Echo("/hurried/call?service=inventory&path=/x", "", nil)
	if status != http.StatusOK {
		t.Fatal(status)
	}
	first, second := left(t, e), left(t, e.Second(t))
	if first > 2*time.Second || first < 500*time.Millisecond || second > first || second < 300*time.Millisecond {
		t.Errorf("orders was left %s, inventory %s, of 2s", first, second)
	}
}

func left(t *testing.T, e kit.Echo) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(e.Header.Get("X-Left-Ms") + "ms")
	if err != nil {
		t.Fatalf("%s was told %q", e.App, e.Header.Get("X-Left-Ms"))
	}
	return d
}
