package ops_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// Two versions of one service, told apart by metadata and by tags in a real
// Consul; the newer one fails and loses its share.
func TestCanaryOfOneConsulServiceIsRolledBack(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	v1, v2 := kit.StartApp(t, "v1", ""), kit.StartApp(t, "v2", "")
	v2.Extra["/shop/bad"] = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", http.StatusInternalServerError) }
	register := func(app *kit.App, version string) {
		host, port, _ := strings.Cut(app.Addr, ":")
		n, _ := strconv.Atoi(port)
		consul.Put("/v1/agent/service/register", map[string]any{"ID": app.Name, "Name": "orders", "Address": host, "Port": n,
			"Tags": []string{version}, "Meta": map[string]string{"version": version}}, nil)
	}
	register(v1, "v1")
	register(v2, "v2")
	edge, admin := kit.FreeAddr(t), kit.FreeAddr(t)
	file := kit.File(t, "lintel.yaml", fmt.Sprintf(`version: 1
listeners: [{name: edge, address: %q}]
admin: {address: %q}
discovery: {consul: {address: %q}}
routes:
  - name: shop
    match: {path: /shop/*}
    split:
      - {service: orders, meta: {version: v1}, weight: 80}
      - {service: orders, tags: [v2], weight: 20, when: [{header: {X-Canary: "1"}}]}
    rollback: {min_requests: 50}
services:
  orders: {consul: {}}
`, edge, admin, consul.HTTPAddr()))
	p := kit.Start(t, nil, "ingress", "-c", file).Ready(admin)
	ask := func(path string, canary bool) (int, string) {
		req, _ := http.NewRequest(http.MethodGet, "http://"+edge+path, nil)
		if canary {
			req.Header.Set("X-Canary", "1")
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = res.Body.Close() }()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	for _, canary := range []bool{false, true} {
		kit.Eventually(t, 30*time.Second, "both sides have an endpoint", func() error {
			if status, body := ask("/shop/x", canary); status != 200 || canary && !strings.Contains(body, `"app":"v2"`) {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
	}
	for range 200 { // fine on both sides
		if status, body := ask("/shop/x", false); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
	}
	hurt := 0
	for n := 0; n < 2000 && metric(t, admin, `lintel_split_rolled_back{lintel_route="shop",side="orders@v2"}`) == 0; n++ {
		if status, _ := ask("/shop/bad", false); status == 500 {
			hurt++
		}
	}
	if hurt < 5 || hurt > 150 {
		t.Errorf("%d requests failed before the canary lost its share", hurt)
	}
	for range 200 {
		if status, body := ask("/shop/bad", false); status != 200 || !strings.Contains(body, `"app":"v1"`) {
			t.Fatalf("after the rollback: %d %s", status, body)
		}
	}
	if status, _ := ask("/shop/bad", true); status != 500 {
		t.Errorf("a tester no longer reaches the canary: %d", status)
	}
	r := mustReady(t, admin)
	if d := r.detail("split shop"); r.Code != 200 || !strings.Contains(d, "orders@v2 is rolled back: ") {
		t.Errorf("readyz %d: %q", r.Code, d)
	}
	res, err := http.Get("http://" + admin + "/routes")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if text := strings.Join(strings.Fields(string(b)), ""); !strings.Contains(text, `{"side":"orders@v2","weight":20,"in_force":0,"condition":true,"rolled_back":"`) {
		t.Errorf("/routes: %s", b)
	}
	if log := p.Stderr.String(); !strings.Contains(log, `"level":"ERROR","msg":"split: a side does worse`) {
		t.Error("the log does not say it loudly")
	}
	if v := metric(t, admin, `lintel_split_total{by="weight",lintel_route="shop",outcome="failed",side="orders@v2"}`); int(v) != hurt {
		t.Errorf("lintel_split_total says %v failed, want %d", v, hurt)
	}
	// A repaired version gets its share back with a changed configuration.
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	kit.Replace(t, file, strings.Replace(string(text), "weight: 20", "weight: 21", 1))
	kit.Eventually(t, 30*time.Second, "its weight is back", func() error {
		if v := metric(t, admin, `lintel_split_rolled_back{lintel_route="shop",side="orders@v2"}`); v != 0 {
			return fmt.Errorf("still %v", v)
		}
		return nil
	})
}
