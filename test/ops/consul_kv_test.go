package ops_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// fleet is several ingresses that take routes from the same keys.
type fleet struct {
	t      *testing.T
	consul *kit.Consul
	nodes  []*kvNode
}

type kvNode struct {
	file, edge, admin string
	process           *kit.Process
}

// put writes a key, or deletes it for "".
func (f *fleet) put(key, text string) {
	f.t.Helper()
	method := http.MethodPut
	if text == "" {
		method = http.MethodDelete
	}
	req, err := http.NewRequest(method, "http://"+f.consul.HTTPAddr()+"/v1/kv/lintel/edge/"+key, strings.NewReader(text))
	if err != nil {
		f.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	b, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		f.t.Fatalf("%s: %d %s", key, res.StatusCode, b)
	}
}

func (n *kvNode) start(t *testing.T) {
	t.Helper()
	n.process = kit.Start(t, nil, "ingress", "-c", n.file).Ready(n.admin)
}

func (n *kvNode) ask(path string) (int, string) {
	res, err := http.Get("http://" + n.edge + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// running is what /config tells of what is in force.
type running struct {
	Digest string `json:"digest"`
	KV     struct {
		Digest   string `json:"digest"`
		Index    uint64 `json:"index"`
		Newest   string `json:"newest"`
		FromDisk bool   `json:"from_disk"`
		Stale    string `json:"stale"`
	} `json:"consul_kv"`
}

func (n *kvNode) running() (running, error) {
	var all struct{ Running running }
	res, err := http.Get("http://" + n.admin + "/config")
	if err != nil {
		return all.Running, err
	}
	defer func() { _ = res.Body.Close() }()
	return all.Running, json.NewDecoder(res.Body).Decode(&all)
}

func startFleet(t *testing.T, services string) *fleet {
	f := &fleet{t: t, consul: kit.StartConsul(t, kit.WithDataDir())}
	for range 2 {
		n := &kvNode{edge: kit.FreeAddr(t), admin: kit.FreeAddr(t)}
		n.file = kit.File(t, "lintel.yaml", fmt.Sprintf("version: 1\nlisteners: [{name: edge, address: %q}]\nadmin: {address: %q}\n"+
			"discovery: {cache_dir: %q, wait: 30s, consul: {address: %q, kv: lintel/edge/}}\n"+
			"routes: [{name: own, match: {path: /own}, respond: {body: own}}]\n%s", n.edge, n.admin, t.TempDir(), f.consul.HTTPAddr(), services))
		f.nodes = append(f.nodes, n)
	}
	return f
}

func weights(blue, green int) string {
	return fmt.Sprintf("routes:\n  - name: shop\n    match: {path: /shop/*}\n    split:\n      - {name: blue, service: shop-blue, weight: %d}\n      - {name: green, service: shop-green, weight: %d}\n", blue, green)
}

// agree waits until every ingress runs the same and answers as app.
func (f *fleet) agree(app string) {
	f.t.Helper()
	kit.Eventually(f.t, 30*time.Second, "all answer as "+app, func() error {
		var first running
		for i, n := range f.nodes {
			r, err := n.running()
			if err != nil {
				return err
			}
			if i == 0 {
				first = r
			}
			if r.KV.Digest != first.KV.Digest || r.KV.Index != first.KV.Index || r.KV.Newest != "" || r.KV.Stale != "" {
				return fmt.Errorf("%+v and %+v", first, r)
			}
			if status, body := n.ask("/shop/x"); status != 200 || !strings.Contains(body, `"app":"`+app+`"`) {
				return fmt.Errorf("%d %s", status, body)
			}
		}
		return nil
	})
}

func TestFleetSwitchesTogetherByOneKey(t *testing.T) {
	t.Parallel()
	blue, green := kit.StartApp(t, "blue", ""), kit.StartApp(t, "green", "")
	f := startFleet(t, fmt.Sprintf("services: {shop-blue: {static: [%q]}, shop-green: {static: [%q]}}\n", blue.Addr, green.Addr))
	f.put("shop.yaml", weights(100, 0))
	for _, n := range f.nodes {
		n.start(t)
	}
	f.agree("blue")
	var shots []kit.Shot
	for _, n := range f.nodes {
		shots = append(shots, kit.Shot{Method: http.MethodGet, URL: "http://" + n.edge + "/shop/a", Expect: `"path":"/shop/a"`},
			kit.Shot{Method: http.MethodPost, URL: "http://" + n.edge + "/shop/b", Body: "payload", Expect: `"body":"payload"`},
			kit.Shot{Method: http.MethodGet, URL: "http://" + n.edge + "/own", Expect: "own"})
	}
	l := kit.StartLoad(t, nil, shots...)
	for range 3 {
		l.During(200 * time.Millisecond)
		f.put("shop.yaml", weights(0, 100))
		f.agree("green")
		asked := blue.Requests.Load()
		l.During(300 * time.Millisecond)
		if blue.Requests.Load() != asked {
			t.Error("blue is still asked")
		}
		f.put("shop.yaml", weights(100, 0))
		f.agree("blue")
	}

	// What is wrong changes nothing, whatever it is, and is told with key and line.
	for name, c := range map[string]struct{ key, text, told string }{
		"a service that is not there": {"shop.yaml", "routes:\n  - name: shop\n    match: {path: /shop/*}\n    service: shop-red\n", "consul:lintel/edge/shop.yaml:4: route shop: service"},
		"a typing error":              {"shop.yaml", "routes:\n  - {nam: shop}\n", "consul:lintel/edge/shop.yaml:2"},
		"a listener":                  {"extra.yaml", "listeners: []\n", "consul:lintel/edge/extra.yaml:1:1: unknown key"},
		"a route of the file":         {"extra.yaml", "\nroutes: [{name: own, respond: {}}]\n", "consul:lintel/edge/extra.yaml:2: route own is defined at "},
		"no key at all any more":      {"shop.yaml", "", "there were keys and now there is none"},
	} {
		f.put(c.key, c.text)
		for _, n := range f.nodes {
			kit.Eventually(t, 30*time.Second, name+" is refused", func() error {
				r := mustReady(t, n.admin)
				if d := r.detail("config"); r.Code != 200 || !strings.HasPrefix(d, "ok=false") || !strings.Contains(d, c.told) {
					return fmt.Errorf("%s: %d %s", name, r.Code, d)
				}
				if v := metric(t, n.admin, "lintel_config_last_reload_successful"); v != 0 {
					return fmt.Errorf("%s: successful is %v", name, v)
				}
				return nil
			})
			if v := metric(t, n.admin, "lintel_config_kv_refused"); v != 1 {
				t.Errorf("%s: lintel_config_kv_refused is %v", name, v)
			}
			if !strings.Contains(n.process.Stderr.String(), strings.ReplaceAll(c.told, `"`, `\"`)) {
				t.Errorf("%s: the log does not say %q", name, c.told)
			}
		}
		if c.key == "extra.yaml" {
			f.put(c.key, "")
		} else {
			f.put(c.key, weights(100, 0))
		}
		f.agree("blue")
	}
	l.Clean(500)
}

func TestKeysAreKeptWhileConsulIsAway(t *testing.T) {
	t.Parallel()
	app := kit.StartApp(t, "blue", "")
	f := startFleet(t, fmt.Sprintf("services: {shop-blue: {static: [%q]}, shop-green: {static: [%q]}}\n", app.Addr, app.Addr))
	f.put("shop.yaml", weights(100, 0))
	for _, n := range f.nodes {
		n.start(t)
	}
	f.agree("blue")
	l := kit.StartLoad(t, nil, kit.Shot{Method: http.MethodGet, URL: "http://" + f.nodes[0].edge + "/shop/a", Expect: `"app":"blue"`})
	f.consul.Kill()
	kit.Eventually(t, 60*time.Second, "Consul is missed", func() error {
		if v := metric(t, f.nodes[0].admin, "lintel_config_kv_stale"); v != 1 {
			return fmt.Errorf("lintel_config_kv_stale is %v", v)
		}
		return nil
	})
	// One that starts now takes what was good last, from disk.
	second := f.nodes[1]
	before, err := f.nodes[0].running()
	if err != nil {
		t.Fatal(err)
	}
	second.process.Kill()
	second.start(t)
	if status, body := second.ask("/shop/x"); status != 200 || !strings.Contains(body, `"app":"blue"`) {
		t.Errorf("from disk: %d %s", status, body)
	}
	if r, err := second.running(); err != nil || r.KV.Digest != before.KV.Digest || !r.KV.FromDisk || r.KV.Stale == "" {
		t.Errorf("%+v, %v; want %+v, from disk and stale", r, err, before)
	}
	f.consul.Restart()
	f.agree("blue")
	kit.Eventually(t, 30*time.Second, "it is Consul's word again", func() error {
		r, err := second.running()
		if err == nil && r.KV.FromDisk {
			err = fmt.Errorf("%+v: still from disk", r)
		}
		return err
	})
	// Nothing valid there while one starts: what was good last, and it says so.
	f.put("shop.yaml", "routes: [{nam: x}]\n")
	second.process.Kill()
	second.start(t)
	if status, _ := second.ask("/shop/x"); status != 200 {
		t.Errorf("with a bad key at start: %d", status)
	}
	if d := mustReady(t, second.admin).detail("config"); !strings.Contains(d, "consul:lintel/edge/shop.yaml:1") {
		t.Errorf("readyz does not say what is wrong: %s", d)
	}
	f.put("shop.yaml", weights(100, 0))
	f.agree("blue")
	l.Clean(100)
}

func TestWithoutConsulAndWithoutDiskNothingStarts(t *testing.T) {
	t.Parallel()
	file := kit.File(t, "lintel.yaml", fmt.Sprintf("version: 1\nlisteners: [{name: edge, address: %q}]\nadmin: {address: \"off\"}\n"+
		"discovery: {wait: 1s, consul: {address: %q, kv: lintel/edge/}}\n", kit.FreeAddr(t), kit.FreeAddr(t)))
	p := kit.Start(t, nil, "ingress", "-c", file)
	if code := p.Wait(time.Minute); code == 0 || !strings.Contains(p.Stderr.String(), "the keys under lintel/edge/") {
		t.Errorf("exit code %d: %s", code, p.Stderr.String())
	}
}

func TestKeysAreValidatedBeforehand(t *testing.T) {
	t.Parallel()
	f := startFleet(t, "services: {shop-blue: {static: [\"127.0.0.1:1\"]}, shop-green: {static: [\"127.0.0.1:2\"]}}\n")
	good, bad := kit.File(t, "good.yaml", weights(1, 1)), kit.File(t, "bad.yaml", "routes: [{name: own, respond: {}}]\n")
	validate := func(args ...string) (int, string) {
		p := kit.Start(t, nil, append([]string{"validate", "-c", f.nodes[0].file}, args...)...)
		return p.Wait(time.Minute), p.Stdout.String() + p.Stderr.String()
	}
	if code, out := validate("--snippet", good); code != 0 {
		t.Errorf("good: %d %s", code, out)
	}
	if code, out := validate("--snippet", good, "--snippet", bad); code == 0 || !strings.Contains(out, "bad.yaml:1: route own is defined at") {
		t.Errorf("bad: %d %s", code, out)
	}
	f.put("shop.yaml", weights(1, 1))
	if code, out := validate("--kv"); code != 0 {
		t.Errorf("good keys: %d %s", code, out)
	}
	f.put("shop.yaml", "routes: [{name: own, respond: {}}]\n")
	if code, out := validate("--kv"); code == 0 || !strings.Contains(out, "consul:lintel/edge/shop.yaml:1: route own") {
		t.Errorf("bad keys: %d %s", code, out)
	}
}

// Whoever may write keys gets nothing of what the machine has for itself: neither
// its files, nor the admin API by a route to it.
func TestKeysGetNothingOfTheMachine(t *testing.T) {
	t.Parallel()
	f := startFleet(t, "")
	n := f.nodes[0]
	f.put("a.yaml", fmt.Sprintf("services: {admin: {static: [%q]}}\n"+
		"routes:\n  - {name: admin, match: {path: /x/*}, strip_prefix: /x, service: admin, "+
		"filters: [{headers: {request: {remove: [Via]}}}]}\n"+
		"  - {name: up, match: {path: /up}, respond: {body: up}}\n", n.admin))
	n.start(t)
	if status, body := n.ask("/up"); status != 200 || body != "up" {
		t.Fatalf("%d %s", status, body)
	}
	for _, path := range []string{"/x/config", "/x/debug/pprof/heap", "/x/routes", "/x/livez"} {
		if status, body := n.ask(path); status != 403 || !strings.Contains(body, "proxied") {
			t.Errorf("%s: %d %.200s", path, status, body)
		}
	}
	if _, err := n.running(); err != nil {
		t.Errorf("asked directly: %v", err)
	}
	f.put("b.yaml", "routes: [{name: show, match: {path: /show}, respond: {status: 404}, filters: [{error_pages: {pages: {default: {file: /etc/passwd}}}}]}]\n")
	kit.Eventually(t, 30*time.Second, "the file's page is refused", func() error {
		if r, err := n.running(); err != nil || r.KV.Newest == "" {
			return fmt.Errorf("%+v %v", r, err)
		}
		return nil
	})
	if status, body := n.ask("/show"); strings.Contains(body, "root:") {
		t.Errorf("%d %s", status, body)
	}
}
