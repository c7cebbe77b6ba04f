// Package examples_test proves that every file in deploy/examples is valid, and
// that the two which stand for other gateways behave as those do.
package examples_test

import (
	"path/filepath"
	"strings"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/ingress"
	"lintel.dev/lintel/sidecar"
	"lintel.dev/lintel/test/kit"
)

func TestEveryExampleIsValid(t *testing.T) {
	files, err := filepath.Glob(example("*.yaml"))
	if err != nil || len(files) < 8 {
		t.Fatalf("found %d examples (%v), expected at least 8", len(files), err)
	}
	key, _ := keyPair(t)
	t.Setenv("JWT_KEY_FILE", key)
	t.Setenv("CUSTOMERS_KEY_FILE", key)
	t.Setenv("DENY_FILE", emptyFile(t))
	t.Setenv("PARTNER_ISSUER_KEY", key)
	t.Setenv("JWT_SECRET", "a secret of at least thirty-two bytes")
	t.Setenv("ACME_KEY_FILE", kit.File(t, "acme.key", strings.Repeat("0f", 32)))
	t.Setenv("OPENAPI_FILE", example("openapi/shop.yaml"))
	t.Setenv("MAINTENANCE_KEY", "a key of at least sixteen bytes")
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s, err := config.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			if s.Sidecar == nil && len(s.Listeners) == 0 {
				t.Fatal("it has neither listeners nor a sidecar")
			}
			if s.Sidecar != nil {
				if err := sidecar.Check(s); err != nil {
					t.Error(err)
				}
			}
			if len(s.Listeners) > 0 {
				table, err := ingress.Check(s)
				if err != nil {
					t.Fatal(err)
				}
				table.Release()
			}
		})
	}
}
