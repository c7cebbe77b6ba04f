package examples_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/ingress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const issuer = "https://auth.example.com"

func example(name string) string { return filepath.Join("..", "..", "deploy", "examples", name) }

// service is a real HTTP server that keeps what it was asked.
type service struct {
	*httptest.Server
	mu    sync.Mutex
	asked []*http.Request
}

// newService answers every request with JSON.
func newService(t *testing.T) *service {
	t.Helper()
	s := &service{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.Clone(context.Background()))
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"path":"`+r.URL.Path+`"}`)
	}))
	t.Cleanup(s.Close)
	return s
}

// newHandler answers as told.
func newHandler(t *testing.T, h http.HandlerFunc) *service {
	t.Helper()
	s := &service{Server: httptest.NewServer(h)}
	t.Cleanup(s.Close)
	return s
}

func (s *service) addr() string { return s.Listener.Addr().String() }

func (s *service) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func (s *service) last(t *testing.T) *http.Request {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		t.Fatal("the service was not asked")
	}
	return s.asked[len(s.asked)-1]
}

// gateway runs an example in this process, on ports of its own.
type gateway struct {
	t      *testing.T
	base   string
	client *http.Client
}

func start(t *testing.T, name string, env map[string]string) *gateway {
	t.Helper()
	t.Setenv("LISTEN", "127.0.0.1:0")
	for k, v := range env {
		t.Setenv(k, v)
	}
	s, err := config.Load(example(name))
	if err != nil {
		t.Fatal(err)
	}
	s.Admin.Address = "off" // its usual port belongs to whoever runs a Lintel on this machine
	s.Shutdown.Drain = 5 * time.Second
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	g, err := ingress.Start(t.Context(), ingress.Options{Snapshot: s, Version: "test", Out: io.Discard, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the gateway did not end cleanly: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the gateway did not end")
		}
	})
	return &gateway{t: t, base: "http://" + g.Addr("edge"), client: &http.Client{Transport: transport, Timeout: time.Minute}}
}

// answer is a response read to its end.
type answer struct {
	*http.Response
	body string
}

// get asks with a token ("" for none) and further "Name: value" lines.
func (g *gateway) get(path, token string, lines ...string) answer {
	g.t.Helper()
	req, err := http.NewRequest(http.MethodGet, g.base+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		req.Header[name] = append(req.Header[name], value) // the spelling is kept
	}
	res, err := g.client.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer{res, string(body)}
}

func claims(subject string, roles ...string) jwt.MapClaims {
	return jwt.MapClaims{"iss": issuer, "sub": subject, "roles": roles, "exp": time.Now().Add(time.Hour).Unix()}
}

// keyPair writes a public key as PEM and returns how to sign with the other half.
func keyPair(t *testing.T) (file string, sign func(jwt.MapClaims) string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "issuer.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, func(c jwt.MapClaims) string { return signed(t, jwt.SigningMethodES256, key, c) }
}

func signed(t *testing.T, method jwt.SigningMethod, key any, c jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, c).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}
