package mesh_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

func TestMain(m *testing.M) {
	if url := os.Getenv("LINTEL_MESH_GET"); url != "" { // what another host's loopback says
		body, err := get(url)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Print(body)
		os.Exit(0)
	}
	if name := os.Getenv("LINTEL_MESH_APP"); name != "" {
		go func() { // ends with the test, however that ends
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		fmt.Println(http.ListenAndServe(os.Getenv("LINTEL_MESH_ADDR"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "served by "+name+"\n")
		})))
		os.Exit(1)
	}
	code := m.Run()
	kit.Clean()
	os.Exit(code)
}

// web is an ingress in front of some endpoints of one service, each an app and a
// sidecar, all processes of their own.
type web struct {
	t           testing.TB
	edge, admin string
	front       *kit.Host // where the ingress is
	sides       []*side
	identity    string
	discovery   string // of the sidecars
}

// side is one endpoint.
type side struct {
	name, addr, mesh, probes, file string
	host                           *kit.Host
	app                            *app
	sidecar                        *kit.Process
}

// terms are those of the service in every test here.
const terms = "mesh: true, balance: round_robin, slow_start: 200ms, connect_timeout: 1s, retry_budget: {min_per_second: 20}, " +
	"health: {tcp: {}, interval: 500ms, timeout: 500ms, unhealthy: 2, healthy: 1}, outlier: {consecutive: 3, base_ejection: 1s}"

// plan says what a web is made of.
type plan struct {
	terms     string // of the service; those above when empty
	route     string // further keys of the route; its timeout and retries when empty
	ttl       string
	consul    string      // where the sidecars find it
	asks      string      // where the ingress does
	hosts     []*kit.Host // one for each of the sidecars
	front     *kit.Host   // the ingress's
	consulCA  bool
	endpoints int
}

func startWeb(t testing.TB, p plan) *web {
	t.Helper()
	w := &web{t: t, identity: fmt.Sprintf("identity: {source: embedded, embedded: {dir: %q, ttl: %s}}\n", filepath.Join(t.TempDir(), "ca"), p.ttl)}
	if p.consulCA {
		w.identity = "identity: {source: consul}\n"
	}
	if p.consul != "" {
		w.discovery = fmt.Sprintf("discovery: {consul: {address: %q}}\n", p.consul)
	}
	var static []string
	for i := range p.endpoints {
		var host *kit.Host
		if i < len(p.hosts) {
			host = p.hosts[i]
		}
		s := w.add(host, p.front)
		static = append(static, s.mesh)
	}
	probes := on(p.front, kit.FreeAddr(t))
	w.edge, w.admin, w.front = on(p.front, kit.FreeAddr(t)), kit.FreeAddr(t), p.front
	from, discovery := ", static: ["+strings.Join(static, ", ")+"]", ""
	if p.consul != "" {
		from, discovery = "", fmt.Sprintf("discovery: {consul: {address: %q}}\n", orElse(p.asks, p.consul))
	}
	file := kit.File(t, "ingress.yaml", fmt.Sprintf(`version: 1
listeners: [{name: edge, address: %q}]
admin: {address: %q, probes: %q}
%s%sroutes: [{name: all, match: {path: /*}, service: web, authorization: drop, %s}]
services: {web: {%s%s}}
`, w.edge, w.admin, probes, w.identity, discovery, orElse(p.route, "timeout: 30s, retries: {attempts: 2}"), orElse(p.terms, terms), from))
	kit.StartIn(t, p.front, nil, "ingress", "-c", file).Ready(probes)
	w.await(p.endpoints)
	return w
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// on is a free address on a host.
func on(h *kit.Host, addr string) string {
	if h == nil {
		return addr
	}
	return strings.Replace(addr, "127.0.0.1", h.IP, 1)
}

// add starts another endpoint; front is the host that asks it, nil for this one.
func (w *web) add(host, front *kit.Host) *side {
	t := w.t
	t.Helper()
	s := &side{name: fmt.Sprintf("web-%d", len(w.sides)+1), host: host, addr: kit.FreeAddr(t), mesh: on(host, kit.FreeAddr(t)), probes: on(host, kit.FreeAddr(t))}
	if front != nil {
		s.mesh = strings.Replace(s.mesh, "127.0.0.1", front.Peer, 1)
	}
	s.file = kit.File(t, s.name+".yaml", fmt.Sprintf(`version: 1
sidecar:
  service: web
  app: %q
  mesh: %q
  outbound: %q
  policy: {allow: [{from: [ingress]}]}
  check: {interval: 1s}
admin: {address: off, probes: %q}
%s%s`, s.addr, s.mesh, kit.FreeAddr(t), s.probes, w.identity, w.discovery))
	w.startApp(s)
	w.startSidecar(s)
	w.sides = append(w.sides, s)
	return s
}

func (w *web) startSidecar(s *side) {
	w.t.Helper()
	s.sidecar = kit.StartIn(w.t, s.host, nil, "sidecar", "-c", s.file).Ready(s.probes)
}

func (w *web) shot(method string) kit.Shot {
	s := kit.Shot{Method: method, URL: "http://" + w.edge + "/x", Expect: "served by"}
	if method == http.MethodPut {
		s.Body = "payload"
	}
	return s
}

// load is idempotent requests all the time.
func (w *web) load() *kit.Load {
	return kit.StartLoad(w.t, nil, w.shot(http.MethodGet), w.shot(http.MethodPut))
}

// states are the states of the endpoints as the ingress sees them, by address.
func (w *web) states() (map[string]string, error) {
	cmd := w.front.Command(os.Args[0]) // the admin API answers on loopback alone
	cmd.Env = append(os.Environ(), "LINTEL_MESH_GET=http://"+w.admin+"/services?compact")
	var says strings.Builder
	cmd.Stderr = &says
	body, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, says.String())
	}
	var all []struct {
		Service   string `json:"service"`
		Endpoints []struct {
			Address string `json:"address"`
			State   string `json:"state"`
		} `json:"endpoints"`
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, s := range all {
		if s.Service == "web" {
			for _, e := range s.Endpoints {
				out[e.Address] = e.State
			}
		}
	}
	return out, nil
}

// await waits until n endpoints are used, and tells how long that took.
func (w *web) await(n int) time.Duration {
	w.t.Helper()
	began := time.Now()
	kit.Eventually(w.t, patience, fmt.Sprintf("%d endpoints are used", n), func() error {
		states, err := w.states()
		healthy := 0
		for _, s := range states {
			if s == "healthy" {
				healthy++
			}
		}
		if err == nil && healthy != n {
			err = fmt.Errorf("%v", states)
		}
		return err
	})
	return time.Since(began)
}

// awaitServed waits until an endpoint's app answers through the ingress.
func (w *web) awaitServed(s *side) time.Duration {
	w.t.Helper()
	began := time.Now()
	kit.Eventually(w.t, patience, s.name+" serves", func() error {
		body, err := get("http://" + w.edge + "/look")
		if err == nil && strings.TrimSpace(body) != "served by "+s.name {
			err = fmt.Errorf("%s", body)
		}
		return err
	})
	return time.Since(began)
}

func get(url string) (string, error) {
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d %s", res.StatusCode, b)
	}
	return string(b), err
}

// within fails the test when a recovery took longer than it may, and tells it.
func within(t testing.TB, what string, took, limit time.Duration) {
	t.Helper()
	t.Logf("%s: %s", what, took.Round(time.Millisecond))
	if took > limit {
		t.Errorf("%s took %s, want at most %s", what, took, limit)
	}
}

// patience is for a machine that does much else.
const patience = time.Minute
