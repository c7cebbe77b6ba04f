package compose

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/mtls"
)

func embedded(t *testing.T, further ...config.Federation) (*Identity, error) {
	t.Helper()
	cfg := config.Identity{Source: "embedded", Embedded: config.EmbeddedCA{TrustDomain: "lintel.local", TTL: time.Hour}, Federation: further,
		Wait: time.Minute, Txn: config.TxnToken{Lifetime: time.Minute}}
	id, err := openIdentity(t.Context(), cfg, "orders", nil, slog.New(slog.DiscardHandler), nil)
	if err == nil {
		t.Cleanup(func() { _ = id.Close() })
	}
	return id, err
}

func TestAFederatedDomainIsNoReasonToBeUnready(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.json")
	id, err := embedded(t, config.Federation{TrustDomain: "partner.example", File: missing})
	if err != nil {
		t.Fatal(err)
	}
	checks := id.federation()
	if len(checks) != 1 || checks[0].OK || checks[0].Required || checks[0].Name != "federation partner.example" || !strings.Contains(checks[0].Detail, "no such file") {
		t.Errorf("%+v", checks)
	}
	if o := id.Server(true); !o.AllowTLS12 || len(o.TrustDomains) != 1 || o.TrustDomains[0] != "partner.example" {
		t.Errorf("%+v", o)
	}
	from := []string{"spiffe://lintel.local/*", "spiffe://partner.example/svc/shop", "spiffe://partner.exampel/svc/shop"}
	if got := id.Unknown(from); len(got) != 1 || got[0] != from[2] {
		t.Errorf("%q", got)
	}
	alone, err := embedded(t)
	if err != nil || len(alone.federation()) > 0 || len(alone.Server(false).TrustDomains) > 0 {
		t.Errorf("%v", err)
	}
	if _, err := embedded(t, config.Federation{TrustDomain: "lintel.local"}); err == nil || !strings.Contains(err.Error(), "own trust domain") {
		t.Errorf("%v", err)
	}
}

func TestFederationIsCheckedOffline(t *testing.T) {
	for _, f := range []config.Federation{{TrustDomain: "lintel.local"}, {TrustDomain: "a b"}, {TrustDomain: "x", URL: "http://x"}} {
		if _, err := OfflineIdentity(config.Identity{Source: "embedded", Embedded: config.EmbeddedCA{TrustDomain: "lintel.local"},
			Federation: []config.Federation{f}}); err == nil || !strings.Contains(err.Error(), "federation[0]") {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestHomeIsTheOwnTrustDomain(t *testing.T) {
	id := &Identity{TrustDomain: "prod.example"}
	for peer, home := range map[string]bool{"spiffe://prod.example/svc/a": true, "spiffe://prod.example.evil/svc/a": false, "spiffe://evil/prod.example/a": false,
		"spiffe://prod.example": false, "spiffe://prod.examplf/svc": false, "": false, "https://prod.example/a": false, "spiffe://prod": false} {
		if id.Home(peer) != home {
			t.Errorf("%q: %t", peer, !home)
		}
	}
}

// The hint of the configuration reaches the Workload API's client.
func TestAnIdentityIsChosenByHint(t *testing.T) {
	dir, err := os.MkdirTemp("", "lc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ca, err := mtls.OpenCA(mtls.CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ca.Close() })
	s, err := ca.Serve(t.Context(), filepath.Join(dir, "s"), "spiffe://lintel.local/svc/orders")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	cfg := config.Identity{Source: "workload-api", Socket: s.Address(), Hint: "internal", Wait: time.Second}
	if _, err := openIdentity(t.Context(), cfg, "orders", nil, slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), `wanted hint "internal"`) {
		t.Errorf("%v", err)
	}
}
