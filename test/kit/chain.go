package kit

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Chain is the main job as separate processes: client → ingress → orders'
// sidecar → orders → its sidecar → inventory's sidecar → inventory.
type Chain struct {
	T         testing.TB
	Edge      string // the ingress, host:port
	Admin     string // its admin API
	Ingress   *Process
	Orders    *Side
	Inventory *Side
	File      string // the ingress's configuration
	Config    string // its text
	CADir     string // of the embedded CA
	Consul    *Consul
	key       *ecdsa.PrivateKey
	env       []string
}

// Side is a service with its sidecar.
type Side struct {
	App     *App
	Process *Process
	Mesh    string
	Admin   string
	File    string
	Config  string
}

// ChainOptions say how the chain differs from the usual.
type ChainOptions struct {
	Consul      *Consul       // discovery, and with ConsulCA identities
	ConsulCA    bool          // identity from Consul's CA instead of the embedded one
	TTL         time.Duration // of embedded certificates; 1 h
	Workload    bool          // the sidecars mint for calls that their apps make on their own account
	Identity    string        // further keys of everybody's identity section
	Routes      string        // further routes of the ingress, YAML list items
	Services    string        // further services of the ingress, YAML map entries
	Ingress     string        // further top-level sections of the ingress
	OrdersAllow string        // policy.allow of orders, YAML list; ingress may do all otherwise
	StockAllow  string        // policy.allow of inventory; orders may do all otherwise
	Sidecar     string        // further keys of both sidecar sections
	SidecarTop  string        // further top-level sections of both sidecars
	Listener    string        // further keys of the edge listener, each after a comma
	NoIngress   bool          // the test starts the ingress itself
	Terms       string        // further keys of the mesh services, each after a comma
}

// StartChain starts everything and waits until it is ready.
func StartChain(t testing.TB, o ChainOptions) *Chain {
	t.Helper()
	c := &Chain{T: t, Edge: FreeAddr(t), Admin: FreeAddr(t), CADir: filepath.Join(t.TempDir(), "ca"), Consul: o.Consul}
	if o.TTL == 0 {
		o.TTL = time.Hour
	}
	c.newKey()
	identity := fmt.Sprintf("identity:\n  source: embedded\n  embedded: {dir: %q, ttl: %s}\n", c.CADir, o.TTL)
	if o.ConsulCA {
		identity = "identity:\n  source: consul\n"
	}
	if o.Workload {
		identity += "  txn_token: {workload: true}\n"
	}
	identity += o.Identity
	discovery := ""
	if o.Consul != nil {
		discovery = fmt.Sprintf("discovery:\n  consul: {address: %q}\n", o.Consul.HTTPAddr())
	}
	c.Inventory = c.side("inventory", identity, discovery, "", orText(o.StockAllow, "[{from: [orders]}]"), o)
	next := ""
	if o.Consul == nil {
		next = "services:\n  inventory: {mesh: true, static: [" + c.Inventory.Mesh + "]" + o.Terms + "}\n"
	}
	c.Orders = c.side("orders", identity, discovery, next, orText(o.OrdersAllow, "[{from: [ingress]}]"), o)
	where := func(s *Side) string {
		if o.Consul != nil {
			return "{mesh: true" + o.Terms + "}"
		}
		return "{mesh: true, static: [" + s.Mesh + "]" + o.Terms + "}"
	}
	c.Config = fmt.Sprintf(`version: 1
listeners:
  - {name: edge, address: %q%s}
admin: {address: %q}
shutdown: {drain: 10s}
%s%spolicies:
  user:
    - jwt:
        iss: https://issuer.test
        audiences: [test]
        keys: [{file: %q}]
routes:
  - name: orders
    match: {path: /orders/*}
    policies: [user]
    strip_prefix: /orders
    service: orders
  - name: open
    match: {path: /open/*}
    strip_prefix: /open
    authorization: drop
    service: orders
%sservices:
  orders: %s
  inventory: %s
%s%s`, c.Edge, o.Listener, c.Admin, identity, discovery, c.publicKey(), o.Routes, where(c.Orders), where(c.Inventory), o.Services, o.Ingress)
	c.File = File(t, "ingress.yaml", c.Config)
	if !o.NoIngress {
		c.Ingress = Start(t, c.env, "ingress", "-c", c.File).Ready(c.Admin)
		c.awaitRoute()
	}
	return c
}

// awaitRoute waits until a call gets through the whole chain.
func (c *Chain) awaitRoute() {
	c.T.Helper()
	Eventually(c.T, 90*time.Second, "the chain answers", func() error {
		status, body := c.Get("/orders/call?service=inventory&path=/ready", c.Token(nil))
		if status != http.StatusOK || !strings.Contains(body, `"next_status":200`) {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (c *Chain) side(name, identity, discovery, services, allow string, o ChainOptions) *Side {
	t := c.T
	s := &Side{App: StartApp(t, name, ""), Mesh: FreeAddr(t), Admin: FreeAddr(t)}
	s.App.Outbound = FreeAddr(t)
	s.Config = fmt.Sprintf(`version: 1
sidecar:
  service: %s
  app: %q
  mesh: %q
  outbound: %q
  policy:
    allow: %s
  check: {interval: 1s} # Consul takes it for sick after three of these without a word
%sadmin: {address: %q}
shutdown: {drain: 10s}
%s%s%s%s`, name, s.App.Addr, s.Mesh, s.App.Outbound, allow, o.Sidecar, s.Admin, identity, discovery, services, o.SidecarTop)
	s.File = File(t, name+".yaml", s.Config)
	s.Process = Start(t, c.env, "sidecar", "-c", s.File).Ready(s.Admin)
	return s
}

func (c *Chain) newKey() {
	var err error
	if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		c.T.Fatal(err)
	}
}

func (c *Chain) publicKey() string {
	der, err := x509.MarshalPKIXPublicKey(&c.key.PublicKey)
	if err != nil {
		c.T.Fatal(err)
	}
	return File(c.T, "users.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
}

// Token signs in the user ada; claims are added or, when nil, removed.
func (c *Chain) Token(claims map[string]any) string {
	m := jwt.MapClaims{"iss": "https://issuer.test", "aud": "test", "sub": "ada", "roles": []string{"customer", "admin"},
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range claims {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	s, err := jwt.NewWithClaims(jwt.SigningMethodES256, m).SignedString(c.key)
	if err != nil {
		c.T.Fatal(err)
	}
	return s
}

// Request asks the ingress; token may be "".
func (c *Chain) Request(ctx context.Context, method, path, token string, h http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Edge+path, body)
	if err != nil {
		return nil, err
	}
	for name, values := range h {
		req.Header[name] = values
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return http.DefaultTransport.RoundTrip(req)
}

// Get asks the ingress and returns status and body; status 0 is an error, told
// in the body.
func (c *Chain) Get(path, token string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	res, err := c.Request(ctx, http.MethodGet, path, token, nil, nil)
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

// Echo asks the ingress and decodes what the app says it saw.
func (c *Chain) Echo(path, token string, h http.Header) (int, Echo) {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	res, err := c.Request(ctx, http.MethodGet, path, token, h, nil)
	if err != nil {
		c.T.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.T.Fatal(err)
	}
	var e Echo
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(b, &e); err != nil {
			c.T.Fatalf("%v in %s", err, b)
		}
	}
	return res.StatusCode, e
}

// Second decodes what the second service saw.
func (e Echo) Second(t testing.TB) Echo {
	t.Helper()
	var n Echo
	if err := json.Unmarshal(e.Next, &n); err != nil {
		t.Fatalf("second hop: %v in %s", err, e.Next)
	}
	return n
}
