package ops_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// signedFor writes a certificate that ends after ends, and its key.
func signedFor(t *testing.T, ends time.Duration) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"shop.example"}, NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: time.Now().Add(ends)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return kit.File(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		kit.File(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))
}

func TestValidateAndStartReadTLSFiles(t *testing.T) {
	t.Parallel()
	cert, key := signedFor(t, 1000*time.Hour)
	soon, soonKey := signedFor(t, time.Hour)
	old, oldKey := signedFor(t, -time.Hour)
	text := func(pairs string, ca, service string) string {
		return kit.File(t, "lintel.yaml", `version: 1
listeners:
  - name: edge
    address: "`+kit.FreeAddr(t)+`"
    tls:
      certificates:
`+pairs+ca+`
routes:
  - {name: all, match: {path: /}, service: app}
services:
  app:
    static: ["127.0.0.1:1"]
`+service)
	}
	pair := func(cert, key string) string {
		return "        - cert: " + cert + "\n          key: " + key + "\n"
	}
	nowhere, junk := filepath.Join(t.TempDir(), "nowhere.pem"), kit.File(t, "junk.pem", "junk")
	bad := text(pair(nowhere, key)+pair(cert, nowhere)+pair(cert, soonKey)+pair(junk, key)+pair(old, oldKey), "      client_auth: request\n      client_ca: "+junk,
		"    tls:\n      ca: "+junk+"\n  other:\n    static: [\"127.0.0.1:1\"]\n    tls:\n      cert: "+cert+"\n      key: "+oldKey+"\n")
	for _, args := range [][]string{{"validate", "-c", bad}, {"ingress", "-c", bad}} {
		code, _, says := run(t, nil, args...)
		if code != 2 {
			t.Errorf("%s: exit code %d", args[0], code)
		}
		lines := strings.Split(strings.TrimSpace(says), "\n")
		for _, want := range []string{":7: ", ":10: ", ":11: ", ":13: ", ":15: ", ":18: ", ":25: ", ":29: "} {
			n := 0
			for _, l := range lines {
				if strings.HasPrefix(l, "lintel: "+bad+want) {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%s: %d errors at %s\n%s", args[0], n, want, says)
			}
		}
		if len(lines) != 8 {
			t.Errorf("%s: %d lines\n%s", args[0], len(lines), says)
		}
	}
	good := text(pair(cert, key)+pair(soon, soonKey), "", "")
	code, out, says := run(t, nil, "validate", "-c", good)
	if code != 0 || !strings.HasSuffix(out, ": valid\n") || strings.Count(says, "\n") != 1 || !strings.HasPrefix(says, "lintel: warning: "+good+":9: listener edge: certificate "+soon+" ends ") {
		t.Errorf("%d %s%s", code, out, says)
	}
	_, out, _ = run(t, nil, "validate", "-c", good, "--output", "json")
	var answer struct {
		Valid            bool
		Errors, Warnings []string
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || !answer.Valid || len(answer.Errors) != 0 || len(answer.Warnings) != 1 {
		t.Errorf("%v %s", err, out)
	}
}
