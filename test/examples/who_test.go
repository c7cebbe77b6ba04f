package examples_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lintel.dev/lintel/proxy/filter/apikey"
)

func emptyFile(t *testing.T) string { return writeFile(t, "empty", nil) }

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// code is the code of a refusal, "" of an answer.
func (a answer) code() string {
	if a.StatusCode < 400 {
		return ""
	}
	_, rest, _ := strings.Cut(a.body, `"code":"`)
	code, _, _ := strings.Cut(rest, `"`)
	return code
}

func TestAPIKeysExample(t *testing.T) {
	shop := newService(t)
	old, current, reports := apikey.New(), apikey.New(), apikey.New()
	g := start(t, "api-keys.yaml", map[string]string{"SHOP_ADDR": shop.addr(), "PARTNER_KEY_OLD": apikey.Hash(old), "PARTNER_KEY": apikey.Hash(current),
		"REPORTS_KEY": apikey.Hash(reports), "PARTNER_KEY_ENDS": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
	for _, c := range []struct{ path, key, want string }{
		{"/catalogue/1", "", "no-api-key"},
		{"/catalogue/1", apikey.New(), "bad-api-key"},
		{"/catalogue/1", apikey.Hash(current), "bad-api-key"},
		{"/catalogue/1", old, ""}, {"/catalogue/1", current, ""}, {"/catalogue/1", reports, ""},
		{"/orders/1", current, ""}, {"/orders/1", reports, "consumer-refused"},
		{"/catalogue/1?api_key=" + current, "", "no-api-key"},
	} {
		var lines []string
		if c.key != "" {
			lines = []string{"x-api-key: " + c.key}
		}
		a := g.get(c.path, "", lines...)
		if a.code() != c.want {
			t.Errorf("%s: %d %s, want %q", c.path, a.StatusCode, a.body, c.want)
		}
		if a.StatusCode == http.StatusUnauthorized && a.Header.Get("WWW-Authenticate") != `ApiKey realm="api"` {
			t.Errorf("challenge %q", a.Header.Get("WWW-Authenticate"))
		}
	}
	g.get("/catalogue/1", "", "X-API-Key: "+current, "X-Consumer-Name: eve", "x_consumer_plan: platinum", "X-Credential-Id: 0")
	r := shop.last(t)
	if h := r.Header; h.Get("X-Consumer-Name") != "partner" || h.Get("X-Consumer-Plan") != "gold" || h.Get("X-Credential-Id") != "2026-02" || h.Get("X-API-Key") != "" {
		t.Errorf("the service was told %v", h)
	}
	for name, values := range r.Header {
		for _, v := range values {
			if v == "eve" || v == "platinum" || len(values) > 1 && strings.HasPrefix(name, "X-Co") {
				t.Errorf("%s: %v arrived", name, values)
			}
		}
	}
	if a := g.get("/calendar?week=7&api_key="+current+"&a=%20", ""); a.StatusCode != http.StatusOK || shop.last(t).URL.RawQuery != "week=7&a=%20" {
		t.Errorf("%d, the service saw ?%s", a.StatusCode, shop.last(t).URL.RawQuery)
	}
}

func TestCombinationsExample(t *testing.T) {
	shop := newService(t)
	file, sign := keyPair(t)
	key := apikey.New()
	g := start(t, "auth-combinations.yaml", map[string]string{"SHOP_ADDR": shop.addr(), "JWT_KEY_FILE": file, "PARTNER_KEY": apikey.Hash(key)})
	user, expired := sign(claims("ada", "analyst")), claims("ada")
	expired["exp"] = time.Now().Add(-time.Hour).Unix()
	stale := sign(expired)
	const wrong = "lk_wrong"
	for _, c := range []struct{ path, token, key, want string }{
		{"/catalogue/1", "", "", ""}, {"/catalogue/1", user, "", ""}, {"/catalogue/1", "", key, ""}, {"/catalogue/1", user, key, ""},
		{"/catalogue/1", stale, "", "token-expired"}, {"/catalogue/1", stale, key, "token-expired"}, {"/catalogue/1", "", wrong, "bad-api-key"},
		{"/orders/1", user, key, ""}, {"/orders/1", user, "", "no-api-key"}, {"/orders/1", "", key, "no-token"}, {"/orders/1", "", "", "no-api-key"},
		{"/orders/1", user, wrong, "bad-api-key"}, {"/orders/1", stale, key, "token-expired"},
		{"/reports/1", user, "", ""}, {"/reports/1", "", key, "role-refused"}, {"/reports/1", "", "", "role-refused"}, {"/reports/1", sign(claims("bob")), "", "role-refused"},
	} {
		var lines []string
		if c.key != "" {
			lines = []string{"X-API-Key: " + c.key}
		}
		before := shop.count()
		a := g.get(c.path, c.token, lines...)
		if a.code() != c.want || (shop.count() > before) != (c.want == "") {
			t.Errorf("%s with token %.8s, key %.8s: %d %s, want %q", c.path, c.token, c.key, a.StatusCode, a.body, c.want)
			continue
		}
		if h := shop.last(t).Header; c.want == "" && (h.Get("Authorization") != "" || h.Get("X-API-Key") != "") {
			t.Errorf("%s: a credential was forwarded: %v", c.path, h)
		}
	}
	g.get("/catalogue/1", user, "X-API-Key: "+key, "X-Consumer-Name: eve")
	if h := shop.last(t).Header; h.Get("X-User-Id") != "ada" || h.Get("X-Consumer-Name") != "" {
		t.Errorf("the service was told %v", h)
	}
}

func TestIssuersExample(t *testing.T) {
	shop := newService(t)
	staffFile, staff := keyPair(t)
	customersFile, customers := keyPair(t)
	denied := writeFile(t, "denied.txt", []byte("# taken back\nstolen\n"))
	g := start(t, "jwt-issuers.yaml", map[string]string{"SHOP_ADDR": shop.addr(), "JWT_KEY_FILE": staffFile, "CUSTOMERS_KEY_FILE": customersFile, "DENY_FILE": denied})
	token := func(iss, jti string, more jwt.MapClaims) jwt.MapClaims {
		c := jwt.MapClaims{"iss": "https://" + iss + ".example.com", "sub": "7", "aud": "shop", "jti": jti, "exp": time.Now().Add(time.Hour).Unix(), "email_verified": true}
		for k, v := range more {
			c[k] = v
		}
		return c
	}
	admin := staff(token("staff", "a", jwt.MapClaims{"realm_access": map[string]any{"roles": []string{"admin"}}, "scope": "shop.write shop.read"}))
	for _, c := range []struct{ name, path, token, want string }{
		{"staff", "/shop/1", staff(token("staff", "a", nil)), ""},
		{"customer", "/shop/1", customers(token("customers", "a", jwt.MapClaims{"aud": "app"})), ""},
		{"a customer's key in staff's name", "/shop/1", customers(token("staff", "a", nil)), "bad-token"},
		{"staff's key in a customer's name", "/shop/1", staff(token("customers", "a", nil)), "bad-token"},
		{"another issuer", "/shop/1", staff(token("evil", "a", nil)), "bad-token"},
		{"staff with an audience of customers", "/shop/1", staff(token("staff", "a", jwt.MapClaims{"aud": "app"})), "bad-token"},
		{"email not verified", "/shop/1", customers(token("customers", "a", jwt.MapClaims{"email_verified": false})), "claim-refused"},
		{"withdrawn", "/shop/1", staff(token("staff", "stolen", nil)), "token-denied"},
		{"bound to a certificate", "/shop/1", staff(token("staff", "a", jwt.MapClaims{"cnf": map[string]any{"x5t#S256": strings.Repeat("A", 43)}})), "token-not-proven"},
		{"no role", "/admin/1", staff(token("staff", "a", nil)), "role-refused"},
		{"no scope", "/admin/1", staff(token("staff", "a", jwt.MapClaims{"realm_access": map[string]any{"roles": []string{"admin"}}})), "insufficient-scope"},
		{"role and scope", "/admin/1", admin, ""},
	} {
		if a := g.get(c.path, c.token); a.code() != c.want {
			t.Errorf("%s: %d %s, want %q", c.name, a.StatusCode, a.body, c.want)
		}
		if a := g.get(c.path, "", "Cookie: a=1; session="+c.token); a.code() != c.want {
			t.Errorf("%s, in the cookie: %d %s, want %q", c.name, a.StatusCode, a.body, c.want)
		}
	}
	g.get("/shop/1", "", "Cookie: a=1; session="+admin+"; b=2", "X-User-Issuer: me")
	if h := shop.last(t).Header; h.Get("Cookie") != "a=1; b=2" || h.Get("X-User-Id") != "7" || h.Get("X-User-Issuer") != "https://staff.example.com" || h.Get("X-User-Roles") != "admin" {
		t.Errorf("the service was told %v", h)
	}
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name pkix.Name) *authority {
	t.Helper()
	a := &authority{t: t, cert: &x509.Certificate{SerialNumber: big.NewInt(1), Subject: name, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}}
	self := a.issue(a.cert)
	a.cert, a.key = self.Leaf, self.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

func (a *authority) issue(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) client(cn string, uri, dns string) *tls.Certificate {
	template := &x509.Certificate{Subject: pkix.Name{CommonName: cn, Organization: []string{"Partner Inc"}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if uri != "" {
		u, err := url.Parse(uri)
		if err != nil {
			a.t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	}
	if dns != "" {
		template.DNSNames = []string{dns}
	}
	c := a.issue(template)
	return &c
}

func TestClientCertificatesExample(t *testing.T) {
	erp := newService(t)
	partner := newAuthority(t, pkix.Name{CommonName: "Partner CA", Organization: []string{"Partner Inc"}})
	other := newAuthority(t, pkix.Name{CommonName: "Other CA"})
	stranger := newAuthority(t, pkix.Name{CommonName: "Partner CA", Organization: []string{"Partner Inc"}}) // the name proves nothing
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	site := partner.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "edge"}, DNSNames: []string{"edge.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	siteKey, err := x509.MarshalPKCS8PrivateKey(site.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	auditor := other.client("whoever", "", "")
	pinned := sha256.Sum256(auditor.Leaf.Raw)
	g := start(t, "client-certificates.yaml", map[string]string{"ERP_ADDR": erp.addr(), "AUDITOR_SHA256": hex.EncodeToString(pinned[:]),
		"TLS_CERT": writeFile(t, "site.pem", block("CERTIFICATE", site.Certificate[0])), "TLS_KEY": writeFile(t, "site.key", block("PRIVATE KEY", siteKey)),
		"CLIENT_CA": writeFile(t, "clients.pem", append(block("CERTIFICATE", partner.cert.Raw), block("CERTIFICATE", other.cert.Raw)...))})
	base := "https" + strings.TrimPrefix(g.base, "http")
	roots := x509.NewCertPool()
	roots.AddCert(partner.cert)
	var sessions tls.ClientSessionCache
	ask := func(c *tls.Certificate, path string, h2 bool) (answer, error) {
		conf := &tls.Config{RootCAs: roots, ServerName: "edge.example", ClientSessionCache: sessions}
		if c != nil {
			conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
		}
		transport := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: h2}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequest(http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header["X_Contract"] = []string{"C-99"}
		req.Header.Set("Client-Cert", "::")
		res, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(req)
		if err != nil {
			return answer{}, err
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		return answer{res, string(body)}, err
	}
	billing, warehouse := partner.client("b", "spiffe://partner.example/billing", ""), partner.client("w", "", "warehouse.partner.example")
	for _, c := range []struct {
		name, path string
		cert       *tls.Certificate
		want       string // code, or "no connection"
	}{
		{"billing", "/invoices/1", billing, ""},
		{"auditor by fingerprint", "/invoices/1", auditor, ""},
		{"auditor by subject", "/invoices/1", partner.client("Auditor", "", ""), ""},
		{"warehouse, not for this", "/invoices/1", warehouse, "consumer-refused"},
		{"warehouse", "/stock/1", warehouse, ""},
		{"warehouse's name of another CA", "/stock/1", other.client("w", "", "warehouse.partner.example"), "unknown-certificate"},
		{"nobody's", "/stock/1", partner.client("x", "", "x.example"), "unknown-certificate"},
		{"none", "/stock/1", nil, "no-certificate"},
		{"none, and none is needed", "/prices", nil, ""},
		{"nobody's, where none is needed", "/prices", partner.client("x", "", "x.example"), "unknown-certificate"},
		{"of an unknown CA", "/prices", stranger.client("b", "spiffe://partner.example/billing", ""), "no connection"},
	} {
		for _, h2 := range []bool{false, true} {
			a, err := ask(c.cert, c.path, h2)
			got := "no connection"
			if err == nil {
				got = a.code()
			}
			if got != c.want {
				t.Errorf("%s: %q (%v), want %q", c.name, got, err, c.want)
			}
			if err == nil && (a.ProtoMajor == 2) != h2 {
				t.Errorf("%s came by %s", c.name, a.Proto)
			}
		}
	}
	if _, err := ask(billing, "/invoices/1", false); err != nil {
		t.Fatal(err)
	}
	if h := erp.last(t).Header; h.Get("X-Consumer-Name") != "billing" || strings.Join(h.Values("X-Contract"), " ") != "C-17" || h.Get("X_contract") != "" || h.Get("Client-Cert") != "" {
		t.Errorf("the service was told %v", h)
	}
	// A resumed session brings the certificate it was opened with.
	sessions = tls.NewLRUClientSessionCache(1)
	for _, resumed := range []bool{false, true} {
		a, err := ask(warehouse, "/stock/1", false)
		if err != nil || a.code() != "" || a.TLS.DidResume != resumed {
			t.Fatalf("resumed %v, want %v: %s %v", a.TLS.DidResume, resumed, a.body, err)
		}
	}
	if got := erp.last(t).Header.Values("Client-Cert"); len(got) != 1 || len(got[0]) < 100 {
		t.Errorf("Client-Cert is %q", got)
	}
}
