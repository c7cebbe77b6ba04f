package ops_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// permit gives a destination intentions with permissions about requests, as
// Consul has them for services of protocol http.
func permit(consul *kit.Consul, destination string, sources ...map[string]any) {
	consul.Put("/v1/config", map[string]any{"Kind": "service-defaults", "Name": destination, "Protocol": "http"}, nil)
	consul.Put("/v1/config", map[string]any{"Kind": "service-intentions", "Name": destination, "Sources": sources}, nil)
}

func permission(action string, about map[string]any) map[string]any {
	return map[string]any{"Action": action, "HTTP": about}
}

func dialTLS(addr string, conf *tls.Config) (*tls.Conn, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", addr, conf)
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(time.Minute))
	}
	return conn, err
}

// What a real Consul hands out of intentions with HTTP permissions is evaluated
// by the sidecar, request by request.
func TestConsulHTTPPermissionsAreEvaluated(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	intend(consul, "orders", "ingress", "allow")
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul, ConsulCA: true, OrdersAllow: "[]"})
	permit(consul, "orders",
		map[string]any{"Name": "ingress", "Permissions": []any{
			permission("deny", map[string]any{"PathPrefix": "/r/admin"}),
			permission("deny", map[string]any{"PathRegex": "/r/v[0-9]+/purge"}),
			permission("allow", map[string]any{"PathPrefix": "/r/", "Methods": []string{"GET", "PUT"}}),
			permission("allow", map[string]any{"PathExact": "/h", "Header": []any{
				map[string]any{"Name": "X-Tier", "Exact": "Gold"}, map[string]any{"Name": "X-Test", "Present": true, "Invert": true},
				map[string]any{"Name": "X-Range", "Regex": "[a-c]+"},
				map[string]any{"Name": "X-Begin", "Prefix": "be"}, map[string]any{"Name": "X-End", "Suffix": "nd"}}}),
		}},
		map[string]any{"Name": "*", "Action": "deny"})
	token := c.Token(nil)
	ask := func(method, path string, h map[string]string) (int, string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		header := http.Header{}
		for k, v := range h {
			header.Set(k, v)
		}
		res, err := c.Request(ctx, method, "/orders"+path, token, header, nil)
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = res.Body.Close() }()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	kit.Eventually(t, time.Minute, "the permissions are in force", func() error {
		if status, body := ask("GET", "/r/admin", nil); status != http.StatusForbidden {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	good := func() map[string]string {
		return map[string]string{"X-Tier": "Gold", "X-Range": "abc", "X-Begin": "begin", "X-End": "end"}
	}
	with := func(name, value string) map[string]string {
		h := good()
		h[name] = value
		return h
	}
	for _, r := range []struct {
		method, path string
		header       map[string]string
		allowed      bool
	}{
		{"GET", "/r/a", nil, true}, {"PUT", "/r/a", nil, true}, {"POST", "/r/a", nil, false}, {"GET", "/r/admin/x", nil, false},
		{"GET", "/r/%61dmin", nil, false}, {"GET", "/r/x/../admin", nil, false},
		{"GET", "/r/v12/purge", nil, false}, {"GET", "/r/v12/purge/all", nil, true}, {"GET", "/other", nil, false},
		{"GET", "/h", good(), true}, {"POST", "/h", good(), true}, {"GET", "/h", nil, false}, {"GET", "/h/x", good(), false},
		{"GET", "/h", with("X-Tier", "silver"), false}, {"GET", "/h", with("X-Test", ""), false}, {"GET", "/h", with("X-Tier", "gold"), false},
		{"GET", "/h", with("X-Range", "abcd"), false}, {"GET", "/h", with("X-Begin", "a"), false}, {"GET", "/h", with("X-End", "a"), false},
	} {
		want := http.StatusOK
		if !r.allowed {
			want = http.StatusForbidden
		}
		if status, body := ask(r.method, r.path, r.header); status != want {
			t.Errorf("%s %s %v: %d, want %d: %s", r.method, r.path, r.header, status, want, body)
		}
	}
	var roots struct{ TrustDomain string }
	if err := consul.Get("/v1/agent/connect/ca/roots", &roots); err != nil {
		t.Fatal(err)
	}
	peer := "spiffe://" + roots.TrustDomain + "/ns/default/dc/dc1/svc/ingress"
	for path, says := range map[string]string{
		"/r/a":     "permission 3 of 4 of the intention for ingress allows it",
		"/r/admin": "permission 1 of 4 of the intention for ingress denies it",
		"/x":       "no permission of the intention for ingress fits",
	} {
		code, out, errs := run(t, nil, "explain", "--address", c.Orders.Admin, "--peer", peer, "http://orders"+path)
		if !strings.Contains(out, says) {
			t.Errorf("explain %s: %d %s%s, want %q", path, code, out, errs, says)
		}
	}
}

// A deny takes effect on the connection that is in use, fast, and no
// intention is forgotten while Consul cannot be asked.
func TestADenyTakesEffectAtOnceAndOutlivesConsul(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	intend(consul, "orders", "ingress", "allow", "web", "allow")
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul, ConsulCA: true, OrdersAllow: "[]"})
	web := newNative(t, consul, "web")
	conf := web.client(0).TLSClientConfig
	tries, slowest := 3, time.Duration(0)
	for range tries {
		intend(consul, "orders", "ingress", "allow", "web", "allow")
		var conn io.ReadWriteCloser
		var in *bufio.Reader
		ask := func() int {
			t.Helper()
			if _, err := io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: orders\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			return res.StatusCode
		}
		kit.Eventually(t, time.Minute, "web is allowed", func() error {
			tc, err := dialTLS(c.Orders.Mesh, conf)
			if err != nil {
				return err
			}
			conn, in = tc, bufio.NewReader(tc)
			if status := ask(); status != http.StatusOK {
				_ = tc.Close()
				return fmt.Errorf("%d", status)
			}
			return nil
		})
		intend(consul, "orders", "ingress", "allow", "web", "deny")
		began := time.Now()
		for ask() == http.StatusOK {
			if time.Since(began) > 30*time.Second {
				t.Fatal("web is still served 30 s after it was denied")
			}
		}
		slowest = max(slowest, time.Since(began))
		_ = conn.Close()
	}
	t.Logf("the slowest of %d denials was in force after %s", tries, slowest)
	if slowest > 5*time.Second { // 25 ms on an idle machine
		t.Errorf("a denial took %s", slowest)
	}
	consul.Kill()
	for range 20 {
		if status, _ := c.Get("/orders/x", c.Token(nil)); status != http.StatusOK {
			t.Errorf("without Consul, an allowed caller: %d", status)
		}
		tc, err := dialTLS(c.Orders.Mesh, conf)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(tc, "GET /x HTTP/1.1\r\nHost: orders\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(tc), nil)
		if err != nil || res.StatusCode != http.StatusForbidden {
			t.Errorf("without Consul, a denied caller: %v %v", res, err)
		}
		_ = tc.Close()
	}
}
