package ops_test

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// version is the chain's configuration with one route more and the service's
// section changed, so that both the table and the cluster are new ones.
func version(c *kit.Chain, n int) string {
	text := strings.Replace(c.Config, "routes:\n", fmt.Sprintf("routes:\n  - name: version-%d\n    match: {path: /version/%d}\n    respond: {body: \"version %d\"}\n", n, n, n), 1)
	return strings.ReplaceAll(text, "{mesh: true, static:", fmt.Sprintf("{mesh: true, max_idle: %d, static:", 10+n))
}

func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{})
	token := c.Token(nil)
	before := metric(t, c.Admin, "lintel_config_generation")
	if before != 1 {
		t.Errorf("generation %v after the start, want 1", before)
	}
	sse := openEvents(t, c, "/orders/ticks?n=120&every=100", token)
	ws := openSocket(t, c, "/open/ws")
	l := kit.StartLoad(t, nil,
		kit.Shot{Method: http.MethodGet, URL: "http://" + c.Edge + "/orders/a", Token: token, Expect: `"app":"orders"`},
		kit.Shot{Method: http.MethodPost, URL: "http://" + c.Edge + "/orders/b", Token: token, Body: "payload", Expect: `"body":"payload"`},
		kit.Shot{Method: http.MethodGet, URL: "http://" + c.Edge + "/open/call?service=inventory&path=/x", Expect: `"next_status":200`},
	)
	const hups, replaced = 20, 2
	for n := range hups + replaced {
		generation := metric(t, c.Orders.Admin, "lintel_config_generation")
		kit.Replace(t, c.Orders.File, c.Orders.Config+fmt.Sprintf("firewall: {reserve: [X-Version-%d]}\n", n))
		kit.Replace(t, c.File, version(c, n))
		if n < hups {
			c.Orders.Process.Signal(syscall.SIGHUP)
			c.Ingress.Signal(syscall.SIGHUP)
		} // else the watcher sees it
		awaitVersion(t, c, n)
		kit.Eventually(t, time.Minute, "the sidecar has reloaded", func() error { // signals sent faster than they are heard are one
			if now := metric(t, c.Orders.Admin, "lintel_config_generation"); now <= generation {
				return fmt.Errorf("generation %v", now)
			}
			return nil
		})
		if err := say(ws, fmt.Sprint("version ", n)); err != nil {
			t.Errorf("WebSocket after reload %d: %v", n, err)
		}
		if n > 0 {
			if status, _ := c.Get(fmt.Sprintf("/version/%d", n-1), ""); status != http.StatusNotFound {
				t.Errorf("the route of version %d still answers %d", n-1, status)
			}
		}
		l.During(100 * time.Millisecond)
	}
	if err := sse.all(120); err != nil {
		t.Errorf("server-sent events: %v", err)
	}
	l.Clean(1000)
	// A file replaced before a SIGHUP may be seen by the watcher too: never
	// fewer generations than versions.
	if got := metric(t, c.Admin, "lintel_config_generation"); got < before+hups+replaced {
		t.Errorf("generation %v, want at least %v", got, before+hups+replaced)
	}
	for name, admin := range map[string]string{"ingress": c.Admin, "sidecar": c.Orders.Admin} {
		if got := metric(t, admin, "lintel_config_last_reload_successful"); got != 1 {
			t.Errorf("%s: last reload successful: %v", name, got)
		}
		if got := metric(t, admin, "lintel_config_generation"); got < 1+hups {
			t.Errorf("%s: generation %v, want at least %d", name, got, 1+hups)
		}
	}
}

func awaitVersion(t testing.TB, c *kit.Chain, n int) {
	t.Helper()
	kit.Eventually(t, time.Minute, fmt.Sprint("version ", n), func() error {
		if status, body := c.Get(fmt.Sprintf("/version/%d", n), ""); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
}

func TestBadReloadKeepsTheOld(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{})
	token := c.Token(nil)
	wrong := func(old, new string) string {
		text := strings.Replace(c.Config, old, new, 1)
		if text == c.Config {
			t.Fatalf("%q is not in the configuration", old)
		}
		return text
	}
	line := func(text, needle string) int {
		before, _, _ := strings.Cut(text, needle)
		return strings.Count(before, "\n") + 1
	}
	for _, bad := range []struct{ name, text, at, says string }{
		{"broken YAML", wrong("shutdown: {drain: 10s}", "shutdown: {drain: 10s"), "identity:", "not valid YAML"},
		{"unknown key", wrong("    strip_prefix: /open", "    strip_prefex: /open"), "strip_prefex", "did you mean strip_prefix?"},
		{"unknown service", wrong("    service: orders", "    service: oders"), "service: oders", `service \"oders\" does not exist`},
	} {
		t.Run(bad.name, func(t *testing.T) {
			failures := metric(t, c.Admin, "lintel_config_reload_failures_total")
			kit.Replace(t, c.File, bad.text)
			c.Ingress.Signal(syscall.SIGHUP)
			where := fmt.Sprintf("%s:%d", c.File, line(bad.text, bad.at))
			awaitText(t, c.Ingress.Stderr, where)
			awaitText(t, c.Ingress.Stderr, bad.says)
			r := mustReady(t, c.Admin)
			if d := r.detail("config"); r.Code != http.StatusOK || !strings.HasPrefix(d, "ok=false") ||
				!strings.Contains(d, where) || !strings.Contains(d, strings.ReplaceAll(bad.says, `\"`, `"`)) {
				t.Errorf("readyz %d, config: %s; want 200 and %s %s", r.Code, d, where, bad.says)
			}
			if got := metric(t, c.Admin, "lintel_config_reload_failures_total"); got <= failures {
				t.Errorf("failures %v, were %v", got, failures)
			}
			if got := metric(t, c.Admin, "lintel_config_last_reload_successful"); got != 0 {
				t.Errorf("last reload successful: %v, want 0", got)
			}
			if status, body := c.Get("/orders/still", token); status != http.StatusOK {
				t.Errorf("the old configuration answers %d %s", status, body)
			}
			if got := metric(t, c.Admin, "lintel_config_generation"); got != 1 {
				t.Errorf("generation %v, want 1", got)
			}
		})
	}
	kit.Replace(t, c.File, version(c, 7)) // no signal: the watcher finds the corrected file
	awaitVersion(t, c, 7)
	kit.Eventually(t, time.Minute, "readyz tells of the correction", func() error { // a moment after the table is in use
		if r := mustReady(t, c.Admin); r.Code != http.StatusOK || !strings.HasPrefix(r.detail("config"), "ok=true generation 2") {
			return fmt.Errorf("%d, config: %s", r.Code, r.detail("config"))
		}
		return nil
	})
}

func TestReloadKeepsLimitsAndCache(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{Routes: `  - name: few
    match: {path: /few}
    filters: [{rate_limit: {requests: 5, window: 10m}}]
    respond: {body: few}
  - name: kept
    match: {path: /kept}
    filters: [{cache: {ttl: 10m}}]
    authorization: drop
    service: orders
`})
	statuses := func(n int) (got []int) {
		for range n {
			status, _ := c.Get("/few", "")
			got = append(got, status)
		}
		return got
	}
	if got := fmt.Sprint(statuses(3)); got != "[200 200 200]" {
		t.Fatalf("before: %s", got)
	}
	_, first := c.Get("/kept", "")
	asked := c.Orders.App.Requests.Load()
	for n := range 3 {
		kit.Replace(t, c.File, version(c, n))
		c.Ingress.Signal(syscall.SIGHUP)
		awaitVersion(t, c, n)
	}
	status, again := c.Get("/kept", "")
	if status != http.StatusOK || again != first || c.Orders.App.Requests.Load() != asked {
		t.Errorf("the cache was emptied: %d, asked the app %d times more, answer the same: %t", status,
			c.Orders.App.Requests.Load()-asked, again == first)
	}
	if got := fmt.Sprint(statuses(4)); got != "[200 200 429 429]" {
		t.Errorf("after three reloads: %s, want two more and then refusals", got)
	}
}
