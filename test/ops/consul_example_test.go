package ops_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// The example of docs/consul-connect.md, as a process: intentions decide, and
// Consul's default about whom none names.
func TestTheConsulConnectExampleRuns(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	app, mesh, admin := kit.StartApp(t, "orders", ""), kit.FreeAddr(t), kit.FreeAddr(t)
	env := append(consul.Env(), "APP="+app.Addr, "MESH="+mesh, "OUTBOUND=127.0.0.1:0", "ADMIN="+admin)
	kit.Start(t, env, "sidecar", "-c", filepath.Join("..", "..", "deploy", "examples", "consul-connect.yaml")).Ready(admin)
	ask := func(service string) (int, string) {
		res, err := newNative(t, consul, service).client(tls.VersionTLS12).RoundTrip(request(t, "https://"+mesh+"/x"))
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = res.Body.Close() }()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	answers := func(service string, want int) {
		t.Helper()
		kit.Eventually(t, time.Minute, fmt.Sprintf("%s gets %d", service, want), func() error {
			if status, body := ask(service); status != want {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
	}
	answers("web", http.StatusOK) // Consul's default without ACLs
	intend(consul, "orders", "web", "deny")
	answers("web", http.StatusForbidden)
	answers("jobs", http.StatusOK)
	intend(consul, "orders", "web", "allow", "*", "deny")
	answers("jobs", http.StatusForbidden)
	answers("web", http.StatusOK)
	r := mustReady(t, admin)
	if d := r.detail("identity"); !strings.Contains(d, "/svc/orders") {
		t.Errorf("readyz: %s", d)
	}
}

func request(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}
