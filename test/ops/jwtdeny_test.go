package ops_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lintel.dev/lintel/proxy/store/redistest"
	"lintel.dev/lintel/test/kit"
)

// TestWithdrawnTokenIsRefusedEverywhere runs deploy/examples/jwt-deny-redis.yaml in
// two processes that share one Redis.
func TestWithdrawnTokenIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("shop")) }))
	t.Cleanup(shop.Close)
	key, sign := signer(t)
	var edges, admins []string
	for range 2 {
		edges, admins = append(edges, kit.FreeAddr(t)), append(admins, kit.FreeAddr(t))
		i := len(edges) - 1
		kit.Start(t, []string{"LISTEN=" + edges[i], "ADMIN=" + admins[i], "REDIS_ADDR=" + redis.Addr(), "SHOP_ADDR=" + shop.Listener.Addr().String(),
			"JWT_KEY_FILE=" + key}, "ingress", "-c", "../../deploy/examples/jwt-deny-redis.yaml").Ready(admins[i])
	}
	token := sign(jwt.MapClaims{"iss": "https://issuer.example.com", "aud": "shop", "sub": "ada", "jti": "4f8a2c", "exp": time.Now().Add(time.Hour).Unix()})
	becomes := func(edge string, want int) {
		t.Helper()
		kit.Eventually(t, time.Minute, fmt.Sprintf("%s answers %d", edge, want), func() error {
			if got, body := getWith(edge, "/shop/1", token); got != want {
				return fmt.Errorf("%d %s", got, body)
			}
			return nil
		})
	}
	for _, e := range edges {
		becomes(e, 200)
	}
	code, out, errs := run(t, nil, "jwt", "deny", "4f8a2c", "--for", "1h", "--address", admins[0])
	if code != 0 || out != "listed (lists: 1)\n" {
		t.Fatalf("exit code %d, %s%s", code, out, errs)
	}
	for _, e := range edges {
		becomes(e, 401)
	}
	if code, _, errs := run(t, nil, "jwt", "deny", "4f8a2c", "--undo", "--address", admins[1]); code != 0 {
		t.Fatalf("exit code %d, %s", code, errs)
	}
	for _, e := range edges {
		becomes(e, 200)
	}
	redis.Do("XADD", "lintel:jwt-denied", "*", "jti", "4f8a2c", "until", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
	for _, e := range edges {
		becomes(e, 401)
	}
	redis.Stop()
	code, _, errs = run(t, nil, "jwt", "deny", "another", "--address", admins[0])
	if code != 1 || !strings.Contains(errs, "redis") {
		t.Errorf("without Redis: exit code %d, %s", code, errs)
	}
	for _, e := range edges {
		if got, body := getWith(e, "/shop/1", token); got != 401 {
			t.Errorf("without Redis a withdrawn token gets %d %s", got, body)
		}
	}
	for _, c := range [][]string{{"jwt", "deny"}, {"jwt", "deny", "a", "b"}, {"jwt", "deny", "a", "--until", "tomorrow"}, {"jwt", "deny", "a", "--for", "1h", "--undo"},
		{"jwt", "deny", "a", "--address", "nowhere"}} {
		if code, _, errs := run(t, nil, c...); code != 2 {
			t.Errorf("%v: exit code %d, %s", c, code, errs)
		}
	}
}

// signer is an issuer: the file with its public key, and how it signs.
func signer(t testing.TB) (file string, sign func(jwt.MapClaims) string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	file = kit.File(t, "issuer.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	return file, func(c jwt.MapClaims) string {
		s, err := jwt.NewWithClaims(jwt.SigningMethodES256, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// getWith asks with a bearer token.
func getWith(addr, path, token string) (int, string) {
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}
