package ops_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

const staleness = `lintel_discovery_staleness_seconds{lintel_service="orders"}`

// awaitStale waits until the ingress says that what it knows of orders is old,
// and is ready all the same.
func awaitStale(t testing.TB, c *kit.Chain) {
	t.Helper()
	kit.Eventually(t, 90*time.Second, "stale", func() error {
		if v := metric(t, c.Admin, staleness); v <= 0 {
			return fmt.Errorf("staleness is %v", v)
		}
		return nil
	})
	r := mustReady(t, c.Admin)
	if d := r.detail("discovery orders"); r.Code != http.StatusOK || !strings.HasPrefix(d, "ok=false") || !strings.Contains(d, "last confirmed") {
		t.Errorf("readyz %d, %s; want ready, and a detail that says since when it is stale", r.Code, d)
	}
	before := metric(t, c.Admin, staleness)
	kit.Eventually(t, 30*time.Second, "staleness rises", func() error {
		if after := metric(t, c.Admin, staleness); after <= before {
			return fmt.Errorf("%v, then %v", before, after)
		}
		return nil
	})
}

func awaitFresh(t testing.TB, c *kit.Chain) {
	t.Helper()
	kit.Eventually(t, 90*time.Second, "fresh again", func() error {
		if v := metric(t, c.Admin, staleness); v != 0 {
			return fmt.Errorf("staleness is %v", v)
		}
		return nil
	})
	if r := mustReady(t, c.Admin); r.Code != http.StatusOK || !strings.HasPrefix(r.detail("discovery orders"), "ok=true 1 endpoints") {
		t.Errorf("readyz %d, %s", r.Code, r.detail("discovery orders"))
	}
}

// awaitSettled waits until everybody has heard of everybody from a Consul whose
// checks pass again.
func awaitSettled(t testing.TB, c *kit.Chain) {
	t.Helper()
	kit.Eventually(t, 90*time.Second, "the mesh has settled", func() error {
		for _, s := range []string{"orders", "inventory"} {
			if got, err := consulSees(c.Consul, s); got != "passing" {
				return fmt.Errorf("%s is %s, %v", s, got, err)
			}
		}
		r, err := readyz(c.Orders.Admin)
		if d := r.detail("discovery inventory"); err == nil && !strings.HasPrefix(d, "ok=true 1 endpoints") {
			err = fmt.Errorf("orders: %s", d)
		}
		return err
	})
}

func TestConsulOutageFailsNoRequest(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t, kit.WithDataDir())
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul, ConsulCA: true})
	token := c.Token(nil)
	l := kit.StartLoad(t, nil,
		kit.Shot{Method: http.MethodGet, URL: "http://" + c.Edge + "/orders/call?service=inventory&path=/x", Token: token, Expect: `"next_status":200`},
		kit.Shot{Method: http.MethodPost, URL: "http://" + c.Edge + "/orders/b", Token: token, Body: "payload", Expect: `"body":"payload"`},
	)
	l.During(500 * time.Millisecond)
	consul.Kill()
	awaitStale(t, c)
	consul.Restart()
	awaitFresh(t, c)
	awaitSettled(t, c) // the agent's checks come back one by one
	consul.Freeze()
	awaitStale(t, c)
	consul.Thaw()
	awaitFresh(t, c)
	l.During(3 * time.Second)
	l.Clean(1000)
}

func TestColdStartWithoutConsulServesFromDisk(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t, kit.WithDataDir())
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul, NoIngress: true})
	cache := t.TempDir()
	c.Config = strings.Replace(c.Config, "discovery:\n", fmt.Sprintf("discovery:\n  cache_dir: %q\n  wait: 85s\n", cache), 1)
	kit.Replace(t, c.File, c.Config)
	c.Ingress = kit.Start(t, nil, "ingress", "-c", c.File).Ready(c.Admin)
	token := c.Token(nil)
	ask := func() error {
		status, body := c.Get("/orders/cold", token)
		if status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	}
	kit.Eventually(t, time.Minute, "orders answers", ask)
	kit.Eventually(t, time.Minute, "the disk knows where orders is", func() error { // written behind: no request waits for a disk
		files, err := filepath.Glob(filepath.Join(cache, "discovery", "*.json"))
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), c.Orders.Mesh) {
				return nil
			}
		}
		return fmt.Errorf("not in %v, %v", files, err)
	})
	c.Ingress.Kill() // no chance to write anything at the end
	consul.Kill()
	began := time.Now()
	c.Ingress = kit.Start(t, nil, "ingress", "-c", c.File).Ready(c.Admin)
	if took := time.Since(began); took > 60*time.Second { // without the disk it waits for 85 s
		t.Errorf("ready after %s although the disk knew the endpoints", took)
	}
	if err := ask(); err != nil {
		t.Errorf("from disk: %v", err)
	}
	if d := mustReady(t, c.Admin).detail("discovery orders"); !strings.HasPrefix(d, "ok=false 1 endpoints, last confirmed") {
		t.Errorf("readyz says %s", d)
	}
	consul.Restart()
	awaitFresh(t, c)
	if err := ask(); err != nil {
		t.Errorf("with Consul back: %v", err)
	}
}
