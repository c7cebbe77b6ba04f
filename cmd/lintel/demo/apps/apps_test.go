package apps

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

func get(t *testing.T, h http.Handler, path string, header http.Header) string {
	t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, nil)
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

func TestIssuersTokenIsSignedByThePublishedKey(t *testing.T) {
	h, err := NewIssuer()
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []struct{ Kid, X, Y string } }
	if err := json.Unmarshal([]byte(get(t, h, "/jwks.json", nil)), &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("the key set is %v (%v), expected one key", set, err)
	}
	point := []byte{4}
	for _, part := range []string{set.Keys[0].X, set.Keys[0].Y} {
		b, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		point = append(point, b...)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Parse(strings.TrimSpace(get(t, h, "/token", nil)), func(token *jwt.Token) (any, error) {
		if token.Header["kid"] != set.Keys[0].Kid {
			t.Errorf("kid is %v, expected %s", token.Header["kid"], set.Keys[0].Kid)
		}
		return public, nil
	}, jwt.WithIssuer(Issuer), jwt.WithAudience(Audience), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatal(err)
	}
	if subject, _ := token.Claims.GetSubject(); subject != "ada" {
		t.Errorf("the token is for %q", subject)
	}
}

func TestOrdersPassesOnTheTraceAndNothingElse(t *testing.T) {
	var sent http.Header
	var host string
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, host = r.Header.Clone(), r.Host
		_, _ = io.WriteString(w, `{"in_stock":7}`)
	}))
	defer sidecar.Close()
	h, err := Handler("orders", func() string { return sidecar.Listener.Addr().String() })
	if err != nil {
		t.Fatal(err)
	}
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	body := get(t, h, "/42", http.Header{"Traceparent": {trace}, "Tracestate": {"lintel=x"}, "X-User-Id": {"ada"}, "Txn-Token": {"t"}})
	if host != "inventory" || sent.Get("Traceparent") != trace || sent.Get("Tracestate") != "lintel=x" {
		t.Errorf("asked %s with %v", host, sent)
	}
	if sent.Get("X-User-Id") != "" || sent.Get("Txn-Token") != "" {
		t.Errorf("it passed on who the user is: %v", sent)
	}
	if !strings.Contains(body, `"user": "ada"`) || !strings.Contains(body, `"in_stock": 7`) || !strings.Contains(body, "0af7651916cd43dd8448eb211c80319c") {
		t.Errorf("it answered %s", body)
	}
}

func TestUnknownServiceIsRefused(t *testing.T) {
	if _, err := Handler("payments", nil); err == nil {
		t.Error("payments is no service of the demo")
	}
}
