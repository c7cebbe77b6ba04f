package ops_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/test/kit"
)

// now is what only a running Lintel knows.
var now = regexp.MustCompile(`(?m)^ +now: .+\n`)

// agree explains a request by a file and by the running Lintel that has it, five
// times each, and returns what both say.
func agree(t *testing.T, name, file, admin string, args ...string) (text string, live route.Explanation) {
	t.Helper()
	ask := func(args ...string) string {
		code, out, says := run(t, nil, append([]string{"explain"}, args...)...)
		if code != 0 {
			t.Fatalf("%s: %d %s", name, code, says)
		}
		return out
	}
	offline := ask(append([]string{"-c", file}, args...)...)
	if now.MatchString(offline) {
		t.Errorf("%s: a file tells how things stand:\n%s", name, offline)
	}
	for range 5 {
		if got := now.ReplaceAllString(ask(append([]string{"--address", admin}, args...)...), ""); got != offline {
			t.Fatalf("%s: live:\n%s\noffline:\n%s", name, got, offline)
		}
	}
	var e route.Explanation
	for _, from := range []struct {
		of string
		e  *route.Explanation
	}{{"-c", &e}, {"--address", &live}} {
		target := file
		if from.of == "--address" {
			target = admin
		}
		if err := json.Unmarshal([]byte(ask(append([]string{from.of, target, "--output", "json"}, args...)...)), from.e); err != nil {
			t.Fatal(err)
		}
	}
	same := live
	same.Terms = nil
	for _, term := range live.Terms {
		term.Now = ""
		same.Terms = append(same.Terms, term)
	}
	if !reflect.DeepEqual(e, same) {
		t.Errorf("%s: as JSON, live:\n%+v\noffline:\n%+v", name, same, e)
	}
	return strings.ReplaceAll(offline, file, "lintel.yaml"), live
}

// golden compares with a file, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "explain", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || got != string(want) {
		t.Errorf("%s: %v: found\n%s\nif it is better, run go test ./test/ops -run Explain -update", name, err, got)
	}
}

const withTerms = `version: 1
listeners:
  - {name: edge, address: "ADDR", trusted_proxies: [10.0.0.0/8]}
admin: {address: "ADMIN"}
deadline: {from: [X-Request-Timeout], to: X-Left-Ms}
routes:
  - name: orders
    match: {path: /orders/*}
    split:
      - {service: orders, weight: 1}
      - {service: orders-v2, weight: 0, when: [{header: {X-Canary: "1"}}]}
    sticky: {cookie: side}
    timeout: 10s
    retries: {attempts: 2, on: [connect, reset, gateway-error, unavailable], per_try_timeout: 2s, idempotency_key: true, buffer_body: 1KiB}
    hedge: {after: p90, methods: [GET]}
    mirror: {service: orders-v2, authorization: drop, share: 0.1, methods: [GET, POST], max_body: 2KiB}
    stream_idle: 1m
  - name: plain
    match: {path: /plain}
    service: plain
services:
  orders:
    static: ["APP", "127.0.0.1:1"]
    balance: consistent_hash
    hash: [{header: X-Tenant}, {cookie: lb, set: true}]
    slow_start: 10s
    max_conns: 100
    breaker: {per: both}
    concurrency: {max: 10, queue: 5}
    health: {http: {path: /healthz}, interval: 1h}
    outlier: {}
    failover: [{static: ["127.0.0.1:3"]}]
    fallback: {on: [breaker-open, no-endpoint]}
  orders-v2: {static: ["127.0.0.1:4"], balance: round_robin}
  plain: {static: ["APP"]}
`

func TestExplainShowsTheTermsOfForwarding(t *testing.T) {
	t.Parallel()
	addr, admin := kit.FreeAddr(t), kit.FreeAddr(t)
	app := kit.StartApp(t, "app", "")
	file := kit.File(t, "lintel.yaml", strings.NewReplacer("ADDR", addr, "ADMIN", admin, "APP", app.Addr).Replace(withTerms))
	kit.Start(t, nil, "ingress", "-c", file).Ready(admin)
	var first []route.Term
	for name, args := range map[string][]string{
		"terms-get":       {"--path", "/orders/7", "-H", "X-Tenant: acme", "-H", "X-Request-Timeout: 2", "--client-ip", "10.0.0.1"},
		"terms-post":      {"--path", "/orders/7", "-X", "POST", "-H", "Content-Length: 3000"},
		"terms-key":       {"--path", "/orders/7", "-X", "POST", "-H", "Content-Length: 1000", "-H", "Idempotency-Key: secret-key"},
		"terms-grpc":      {"--path", "/orders/v1.Orders/Get", "-X", "POST", "-H", "Content-Type: application/grpc", "-H", "Grpc-Timeout: 5S", "-H", "X-Canary: 1"},
		"terms-websocket": {"--path", "/plain", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket"},
		"terms-chunked":   {"--path", "/plain", "-X", "PUT", "-H", "Transfer-Encoding: chunked"},
		"terms-too-late":  {"--path", "/orders/7", "-H", "X-Request-Timeout: 0", "--client-ip", "10.0.0.1"},
	} {
		text, live := agree(t, name, file, admin, args...)
		golden(t, name, settings.ReplaceAllString(text, "settings: …"))
		if strings.Contains(text, "secret-key") {
			t.Errorf("%s: a value is told", name)
		}
		if name == "terms-get" {
			first = live.Terms
		}
	}
	// That was often, and nothing of it was counted.
	_, live := agree(t, "again", file, admin, "--path", "/orders/7", "-H", "X-Tenant: acme", "-H", "X-Request-Timeout: 2", "--client-ip", "10.0.0.1")
	if !reflect.DeepEqual(first, live.Terms) {
		t.Errorf("at first\n%+v\nnow\n%+v", first, live.Terms)
	}
	told := map[string]string{}
	for _, term := range live.Terms {
		told[term.Kind] = term.Now
	}
	for kind, want := range map[string]string{"retry_budget": "30 are left", "hedge": "0 of 100 answers", "breaker": "closed; open for 0 of 2 endpoints",
		"concurrency": "0 of 10 in progress, 0 waiting", "balance": "; its key is at ", "failover": "primary"} {
		if !strings.Contains(told[kind], want) {
			t.Errorf("%s stands at %q, want %q", kind, told[kind], want)
		}
	}
}

// What explain says of retries is what happens, through the whole gateway.
func TestRequestsAreRetriedAsExplained(t *testing.T) {
	t.Parallel()
	addr, admin := kit.FreeAddr(t), kit.FreeAddr(t)
	app := kit.StartApp(t, "app", "")
	var mu sync.Mutex
	asked := map[string]int{}
	app.Extra["/fails"] = func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.Header.Get("X-Case")]++
		mu.Unlock()
		status, _ := strconv.Atoi(r.URL.RawQuery)
		w.WriteHeader(status)
	}
	file := kit.File(t, "lintel.yaml", strings.NewReplacer("ADDR", addr, "ADMIN", admin, "APP", app.Addr).Replace(`version: 1
listeners: [{name: edge, address: "ADDR"}]
admin: {address: "ADMIN"}
routes:
  - name: fails
    match: {path: /fails}
    service: app
    retries: {attempts: 2, on: [503, 409], idempotency_key: true, buffer_body: 1KiB, backoff: 1ms}
services:
  app: {static: ["APP"], breaker: {enabled: false}, retry_budget: {min_per_second: 1000}}
`))
	kit.Start(t, nil, "ingress", "-c", file).Ready(admin)
	again := 0
	for _, method := range []string{"GET", "PUT", "POST"} {
		for _, length := range []int{0, 1000, 2000} {
			for _, key := range []string{"", "k"} {
				_, live := agree(t, method, file, admin, "-X", method, "--path", "/fails", "-H", "Content-Length: "+strconv.Itoa(length), "-H", "Idempotency-Key: "+key)
				for _, term := range live.Terms {
					for _, c := range term.Cases {
						if c.After != "503" && c.After != "409" && c.After != "502" {
							continue
						}
						id := strings.Join([]string{method, strconv.Itoa(length), key, c.After}, " ")
						req, err := http.NewRequest(method, "http://"+addr+"/fails?"+c.After, strings.NewReader(strings.Repeat("x", length)))
						if err != nil {
							t.Fatal(err)
						}
						req.Header.Set("X-Case", id)
						req.Header.Set("Idempotency-Key", key)
						resp, err := http.DefaultClient.Do(req)
						if err != nil {
							t.Fatal(err)
						}
						_ = resp.Body.Close()
						want := 1
						if c.Again {
							want = 3
							again++
						}
						mu.Lock()
						if asked[id] != want {
							t.Errorf("%s: asked %d times, but it was said: %+v", id, asked[id], c)
						}
						mu.Unlock()
					}
				}
			}
		}
	}
	if again < 10 {
		t.Errorf("only %d were sent again", again)
	}
}

const sidecarTerms = `version: 1
identity: {source: embedded, embedded: {dir: "DIR"}}
admin: {address: "ADMIN"}
sidecar:
  service: shop
  mesh: "MESH"
  outbound: "OUT"
  timeout: 3s
  retries: {attempts: 2, on: [connect, 503]}
  upstreams:
    - {service: orders, bind: "BIND", hedge: 50ms}
    - {service: db, bind: "BIND2", protocol: tcp}
services:
  orders: {mesh: true, static: ["127.0.0.1:1"], breaker: {failures: 3}}
  stock: {mesh: true, static: ["127.0.0.1:2"], balance: peak_ewma, outlier: {}}
  db: {mesh: true, static: ["127.0.0.1:3"]}
`

// A sidecar explains its app's calls by its file as it does running, also of services
// that the app has not called yet, which are not in use after that.
func TestExplainOfASidecar(t *testing.T) {
	t.Parallel()
	admin := kit.FreeAddr(t)
	file := kit.File(t, "lintel.yaml", strings.NewReplacer("ADMIN", admin, "MESH", kit.FreeAddr(t), "OUT", kit.FreeAddr(t), "BIND2", kit.FreeAddr(t),
		"BIND", kit.FreeAddr(t), "DIR", t.TempDir()).Replace(sidecarTerms))
	kit.Start(t, nil, "sidecar", "-c", file).Ready(admin)
	for name, args := range map[string][]string{
		"sidecar-upstream":   {"--listener", "orders", "--path", "/orders/7"},
		"sidecar-outbound":   {"http://stock/level", "-X", "POST", "-H", "Content-Length: 10"},
		"sidecar-undeclared": {"http://else/"},
		"sidecar-stranger":   {"http://example.com/"},
		"sidecar-tcp":        {"--listener", "db"},
	} {
		text, _ := agree(t, name, file, admin, args...)
		golden(t, name, settings.ReplaceAllString(text, "settings: …"))
	}
	if code, body := fetch(admin, "/services"); code != 200 || !strings.Contains(body, `"orders"`) || strings.Contains(body, "stock") || strings.Contains(body, "else") {
		t.Errorf("%d: explaining has put services in use: %s", code, body)
	}
	for _, c := range [][3]string{
		{"-c", "--peer", "ask a running one, by --address"}, {"-c", "--listener", "listeners are outbound, upstream-0 (orders), upstream-1 (db)"},
		{"--address", "--listener", "listeners are outbound, upstream-0 (orders), upstream-1 (db)"},
	} {
		from := file
		if c[0] == "--address" {
			from = admin
		}
		if code, _, says := run(t, nil, "explain", c[0], from, c[1], "spiffe://lintel.local/svc/orders"); code == 0 || !strings.Contains(says, c[2]) {
			t.Errorf("%v: %d %s", c, code, says)
		}
	}
}
