package system

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// A split and a mirror between services of the mesh: every side and every copy
// carries the user, by tokens of the connection it goes out on.
func TestSplitAndMirrorInTheMesh(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{StockAllow: "[{from: [orders, ingress]}]", Routes: `
  - name: shaped
    match: {path: /shaped/*}
    policies: [user]
    split:
      - {service: orders, weight: 1}
      - {service: inventory, weight: 0, when: [{claim: {plan: gold}}]}
  - name: copied
    match: {path: /copied/*}
    policies: [user]
    service: orders
    mirror: {service: inventory, methods: [GET, POST]}
`, SidecarTop: "firewall: {allow: [X-Lintel-Mirror]}\n"})
	for plan, app := range map[string]string{"silver": "orders", "gold": "inventory"} {
		status, e := c.Echo("/shaped/x", c.Token(map[string]any{"sub": "ada", "plan": plan}), nil)
		if status != 200 || e.App != app || e.Header.Get("X-User-Id") != "ada" || e.Header.Get("Txn-Token") == "" || e.Header.Get("Authorization") != "" {
			t.Errorf("%s: %d %+v", plan, status, e)
		}
	}
	for _, body := range []string{"", "payload"} {
		method, before := http.MethodGet, c.Inventory.App.Requests.Load()
		if body != "" {
			method = http.MethodPost
		}
		res, err := c.Request(t.Context(), method, "/copied/y", c.Token(map[string]any{"sub": "ada"}), http.Header{"X-Lintel-Mirror": {"forged"}}, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != 200 {
			t.Fatal(res.StatusCode)
		}
		kit.Eventually(t, 30*time.Second, "the copy arrives", func() error {
			if n := c.Inventory.App.Requests.Load(); n != before+1 {
				return fmt.Errorf("%d requests", n-before)
			}
			return nil
		})
		real, copied := c.Orders.App.Last(), c.Inventory.App.Last()
		if h := copied.Header; copied.Method != method || copied.URL.Path != "/copied/y" || h.Get("X-Lintel-Mirror") != "1" || h.Get("X-User-Id") != "ada" ||
			h.Get("Txn-Token") == "" || h.Get("Authorization") != "" || h.Get("Hop-Token") != "" || copied.ContentLength != int64(len(body)) {
			t.Errorf("the copy: %s %s %v, %d bytes", copied.Method, copied.URL, h, copied.ContentLength)
		}
		if real.Header.Get("X-Lintel-Mirror") != "" {
			t.Errorf("the request itself is marked: %v", real.Header)
		}
	}
}
