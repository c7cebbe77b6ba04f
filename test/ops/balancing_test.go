package ops_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// health is what the admin API says of the endpoints of a service.
type health struct {
	Serving   string
	Endpoints []struct {
		Address, State, Why, Zone string
		Weight                    int
		Share                     float64
	}
}

func healthOf(admin, service string) (health, error) {
	res, err := http.Get("http://" + admin + "/services")
	if err != nil {
		return health{}, err
	}
	defer func() { _ = res.Body.Close() }()
	var all []struct {
		Service string
		health
	}
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil {
		return health{}, err
	}
	for _, s := range all {
		if s.Service == service {
			return s.health, nil
		}
	}
	return health{}, fmt.Errorf("no service %s", service)
}

func awaitState(t *testing.T, admin, service, state, why string) {
	t.Helper()
	kit.Eventually(t, time.Minute, service+" is "+state, func() error {
		h, err := healthOf(admin, service)
		if err != nil || len(h.Endpoints) != 1 || h.Endpoints[0].State != state || !strings.Contains(h.Endpoints[0].Why, why) {
			return fmt.Errorf("%+v %v", h, err)
		}
		return nil
	})
}

// TestProbesGoThroughTheMesh: with mTLS, to the identity that traffic expects, and
// as far as the probe asks.
func TestProbesGoThroughTheMesh(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul,
		Routes: `  - {name: connected, match: {path: /connected/*}, authorization: drop, service: connected}
  - {name: asked, match: {path: /asked/*}, authorization: drop, service: asked}
  - {name: picky, match: {path: /picky/*}, authorization: drop, service: picky}
  - {name: impostor, match: {path: /impostor/*}, authorization: drop, service: impostor}
`,
		Services: `  connected: {mesh: true, consul: {service: orders}, health: {tcp: {}, interval: 300ms, timeout: 300ms}}
  asked: {mesh: true, consul: {service: orders}, health: {http: {path: /any}, interval: 300ms, timeout: 300ms}}
  picky: {mesh: true, consul: {service: orders}, health: {http: {path: /any, status: [204]}, interval: 300ms, timeout: 300ms}}
  impostor: {mesh: true, spiffe_id: "spiffe://lintel.local/svc/else", consul: {service: orders}, health: {tcp: {}, interval: 300ms, timeout: 300ms}}
`})
	awaitState(t, c.Admin, "impostor", "unhealthy", "expected spiffe://lintel.local/svc/else")
	awaitState(t, c.Admin, "connected", "healthy", "")
	awaitState(t, c.Admin, "asked", "healthy", "")
	awaitState(t, c.Admin, "picky", "unhealthy", "status 200, expected [204]")
}

// TestLocalityFollowsConsul: an endpoint on the own agent's node, in its zone, is
// preferred to one in another zone, until it is gone; weights of Consul count.
func TestLocalityFollowsConsul(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t, kit.WithHCL(`node_meta { zone = "z1" }`))
	serve := func(name string) int {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
		t.Cleanup(s.Close)
		return s.Listener.Addr().(*net.TCPAddr).Port
	}
	type object = map[string]any
	consul.Put("/v1/agent/service/register", object{"ID": "near", "Name": "web", "Address": "127.0.0.1", "Port": serve("near"),
		"Check": object{"CheckID": "near", "TTL": "10m", "Status": "passing"}}, nil)
	for i, weight := range []int{3, 1} {
		name := fmt.Sprint("far", i)
		consul.Put("/v1/catalog/register", object{"Node": name, "Address": "127.0.0.1", "NodeMeta": object{"zone": "z2"},
			"Service": object{"ID": name, "Service": "web", "Address": "127.0.0.1", "Port": serve(name), "Weights": object{"Passing": weight, "Warning": 1}},
			"Check":   object{"Node": name, "CheckID": name, "Name": name, "Status": "passing", "ServiceID": name}}, nil)
	}
	edge, admin := kit.FreeAddr(t), kit.FreeAddr(t)
	file := kit.File(t, "ingress.yaml", fmt.Sprintf(`version: 1
listeners: [{name: edge, address: %q}]
admin: {address: %q}
discovery: {consul: {address: %q}}
routes:
  - {name: near, match: {path: /near/*}, service: zoned}
  - {name: all, match: {path: /all/*}, service: web}
services:
  zoned: {consul: {service: web}, locality: zone, balance: round_robin}
  web: {balance: round_robin}
`, edge, admin, consul.HTTPAddr()))
	kit.Start(t, nil, "ingress", "-c", file).Ready(admin)
	count := func(path string, n int) map[string]int {
		out := map[string]int{}
		for range n {
			res, err := http.Get("http://" + edge + path)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			out[string(b)]++
		}
		return out
	}
	kit.Eventually(t, time.Minute, "three endpoints, and a place", func() error {
		if n := count("/all/x", 50); n["near"] != 10 || n["far0"] != 30 || n["far1"] != 10 {
			return fmt.Errorf("by weight 1, 3 and 1: %v", n)
		}
		// The own zone has 1 of 5 where half would be even: it keeps two fifths of its own traffic.
		if n := count("/near/x", 50); n["near"] < 18 || n["near"] > 22 || n["far0"] < 18 {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
	for _, name := range []string{"far0", "far1"} {
		consul.Put("/v1/catalog/deregister", object{"Node": name}, nil)
	}
	kit.Eventually(t, time.Minute, "only the near one", func() error {
		if n := count("/near/x", 20); n["near"] != 20 {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
}
