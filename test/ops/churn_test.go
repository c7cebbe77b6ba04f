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

// instance is one of several of a service.
type instance struct {
	*kit.Side
	t testing.TB
}

// instancesOf starts n more instances of orders beside the chain's own.
func instancesOf(t testing.TB, c *kit.Chain, n int) []*instance {
	t.Helper()
	out := []*instance{{c.Orders, t}}
	for range n {
		s := &kit.Side{App: kit.StartApp(t, "orders", ""), Mesh: kit.FreeAddr(t), Admin: kit.FreeAddr(t)}
		s.App.Outbound = kit.FreeAddr(t)
		s.Config = strings.NewReplacer(c.Orders.App.Addr, s.App.Addr, c.Orders.Mesh, s.Mesh, c.Orders.Admin, s.Admin,
			c.Orders.App.Outbound, s.App.Outbound).Replace(c.Orders.Config)
		s.File = kit.File(t, "orders.yaml", s.Config)
		i := &instance{s, t}
		i.start()
		out = append(out, i)
	}
	return out
}

func (i *instance) start() {
	i.t.Helper()
	i.Process = kit.Start(i.t, nil, "sidecar", "-c", i.File).Ready(i.Admin)
}

func TestEndpointChurnFailsNoRequest(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul})
	all := instancesOf(t, c, 2)
	awaitEndpoints(t, c.Admin, "orders", 3)
	token := c.Token(nil)
	get := kit.Shot{Method: http.MethodGet, URL: "http://" + c.Edge + "/orders/a", Token: token, Expect: `"app":"orders"`}
	l := kit.StartLoad(t, nil, get,
		kit.Shot{Method: http.MethodPost, URL: "http://" + c.Edge + "/orders/b", Token: token, Body: "payload", Expect: `"body":"payload"`})
	for round := range 2 {
		for n, i := range all {
			before := i.App.Requests.Load()
			l.During(300 * time.Millisecond)
			kit.Eventually(t, 30*time.Second, fmt.Sprintf("round %d: instance %d gets requests", round, n), func() error {
				if i.App.Requests.Load() == before {
					return fmt.Errorf("none yet")
				}
				return nil
			})
			i.Process.Signal(syscall.SIGTERM)
			if code := i.Process.Wait(time.Minute); code != 0 {
				t.Errorf("round %d: instance %d ended with %d", round, n, code)
			}
			awaitEndpoints(t, c.Admin, "orders", 2)
			i.start()
			awaitEndpoints(t, c.Admin, "orders", 3)
		}
	}
	l.Clean(500)

	t.Run("killed", func(t *testing.T) {
		l := kit.StartLoad(t, nil, get)
		for range 2 {
			l.During(300 * time.Millisecond)
			all[1].Process.Kill()
			l.During(1500 * time.Millisecond)
			all[1].start()
			kit.Eventually(t, 30*time.Second, "the instance is used again", func() error {
				before := all[1].App.Requests.Load()
				time.Sleep(200 * time.Millisecond)
				if all[1].App.Requests.Load() == before {
					return fmt.Errorf("no requests")
				}
				return nil
			})
		}
		l.Clean(200)
	})
}
