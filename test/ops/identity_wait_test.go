package ops_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/test/kit"
)

// A sidecar that starts before its agent lives, is not ready, and says what it
// waits for; then it serves. One whose wait is over ends and says the same.
func TestASidecarWaitsForItsIdentityAndSaysSo(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "ops-") // a unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket, admin, app := filepath.Join(dir, "api.sock"), kit.FreeAddr(t), kit.StartApp(t, "orders", "")
	text := func(wait string) string {
		return kit.File(t, "sidecar.yaml", fmt.Sprintf(`version: 1
sidecar: {service: orders, app: %q, mesh: "127.0.0.1:0", outbound: "127.0.0.1:0", policy: {allow: [{from: "*"}]}}
identity: {source: workload-api, socket: "unix://%s", wait: %s}
admin: {address: %q}
`, app.Addr, socket, wait, admin))
	}
	hurried := kit.Start(t, nil, "sidecar", "-c", text("1s"))
	if code := hurried.Wait(time.Minute); code == 0 || !strings.Contains(hurried.Stderr.String(), "waited 1") || !strings.Contains(hurried.Stderr.String(), "is the agent running") {
		t.Errorf("%d %s", code, hurried.Stderr.String())
	}
	p := kit.Start(t, nil, "sidecar", "-c", text("2m"))
	kit.Eventually(t, time.Minute, "it says what it waits for", func() error {
		r, err := readyz(admin)
		if err == nil && (r.Code != http.StatusServiceUnavailable || !strings.Contains(r.detail("identity"), "waiting for the SPIFFE Workload API at unix://"+socket)) {
			err = fmt.Errorf("%d %s", r.Code, r.detail("identity"))
		}
		return err
	})
	res, err := http.Get("http://" + admin + "/livez")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("livez: %v %v", res, err)
	} else {
		_ = res.Body.Close()
	}
	if code, _, says := run(t, nil, "health", "--address", admin); code != 1 || !strings.Contains(says, "waiting for the SPIFFE Workload API") {
		t.Errorf("lintel health: %d %s", code, says)
	}
	ca, err := mtls.OpenCA(mtls.CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ca.Close() })
	api, err := ca.Serve(context.Background(), socket, "spiffe://lintel.local/svc/orders")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	p.Ready(admin)
}
