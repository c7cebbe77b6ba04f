package ops_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// TestTheMeshFailsOverToAnotherDatacenter of a federated Consul, whose sidecars
// show identities of their own datacenter, and back.
func TestTheMeshFailsOverToAnotherDatacenter(t *testing.T) {
	t.Parallel()
	wan := []string{portOf(t), portOf(t)}
	federated := func(dc string, own, other string) *kit.Consul {
		return kit.StartConsul(t, kit.WithWAN(own), kit.WithHCL(fmt.Sprintf(`
datacenter = %q
primary_datacenter = "dc1"
advertise_addr_wan = "127.0.0.1"
retry_join_wan = ["127.0.0.1:%s"]
retry_interval_wan = "1s"
`, dc, other)))
	}
	one := federated("dc1", wan[0], wan[1])
	two := federated("dc2", wan[1], wan[0])
	kit.Eventually(t, 90*time.Second, "both datacenters know each other", func() error {
		var names []string
		if err := one.Get("/v1/catalog/datacenters", &names); err != nil || len(names) != 2 {
			return fmt.Errorf("%v %v", names, err)
		}
		return nil
	})
	side := func(consul *kit.Consul, name string) *kit.Process {
		app, admin := kit.StartApp(t, name, ""), kit.FreeAddr(t)
		file := kit.File(t, name+".yaml", fmt.Sprintf(`version: 1
sidecar:
  service: orders
  app: %q
  mesh: %q
  outbound: %q
  check: {interval: 500ms}
  policy: {allow: [{from: ["*"]}]}
admin: {address: %q}
identity: {source: consul}
discovery: {consul: {address: %q}}
`, app.Addr, kit.FreeAddr(t), kit.FreeAddr(t), admin, consul.HTTPAddr()))
		return kit.Start(t, nil, "sidecar", "-c", file).Ready(admin)
	}
	side(two, "orders-two")
	edge, admin := kit.FreeAddr(t), kit.FreeAddr(t)
	kit.Start(t, nil, "ingress", "-c", kit.File(t, "ingress.yaml", fmt.Sprintf(`version: 1
listeners: [{name: edge, address: %q}]
admin: {address: %q}
identity: {source: consul}
discovery: {consul: {address: %q}}
routes: [{name: orders, match: {path: /*}, authorization: drop, service: orders}]
services:
  orders: {mesh: true, failover: [{consul: {datacenter: dc2}}], failover_return: 1s}
`, edge, admin, one.HTTPAddr()))).Ready(admin)
	serves := func(want string) {
		t.Helper()
		kit.Eventually(t, 90*time.Second, "served by "+want, func() error {
			res, err := http.Get("http://" + edge + "/x")
			if err != nil {
				return err
			}
			defer func() { _ = res.Body.Close() }()
			b, _ := io.ReadAll(res.Body)
			if res.StatusCode != http.StatusOK || !strings.Contains(string(b), want) {
				return fmt.Errorf("%d %s", res.StatusCode, b)
			}
			return nil
		})
	}
	serves("orders-two")
	if h, err := healthOf(admin, "orders"); err != nil || h.Serving != "1: consul dc2" {
		t.Errorf("%+v %v", h, err)
	}
	local := side(one, "orders-one")
	serves("orders-one")
	local.Kill()
	serves("orders-two")
}

func portOf(t *testing.T) string {
	_, port, err := net.SplitHostPort(kit.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}
