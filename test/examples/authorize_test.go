package examples_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestAuthorizeDecidesByRequestAndUser(t *testing.T) {
	key, sign := keyPair(t)
	orders := newService(t)
	g := start(t, "authorize.yaml", map[string]string{"JWT_KEY_FILE": key, "ORDERS_ADDR": orders.addr()})
	ada, staff, auditor := claims("ada", "customer"), claims("grace", "staff"), claims("alan", "staff", "auditor")
	ada["tenant"] = "acme"
	for _, c := range []struct {
		name, path, token, header string
		status                    int
		code                      string
	}{
		{"her own", "/users/ada/orders", sign(ada), "", 200, ""},
		{"her own, spelt otherwise", "/users/x/../%61da/orders", sign(ada), "", 200, ""},
		{"another's", "/users/eve/orders", sign(ada), "", 403, "not-yours"},
		{"another's, spelt otherwise", "/users/ada/../eve/orders", sign(ada), "", 403, "not-yours"},
		{"another's, for staff", "/users/ada/orders", sign(staff), "", 200, ""},
		{"no token", "/users/ada/orders", "", "", 401, "no-token"},
		{"her tenant", "/users/ada/orders", sign(ada), "X-Tenant: acme", 200, ""},
		{"another tenant", "/users/ada/orders", sign(ada), "x-tenant: evil", 404, "no-route"},
		{"a tenant, without a claim", "/users/ada/orders", sign(staff), "X-Tenant: acme", 404, "no-route"},
		{"a report", "/reports/1", sign(auditor), "", 200, ""},
		{"a report, without the second role", "/reports/1", sign(staff), "", 403, "not-allowed"},
	} {
		before := orders.count()
		lines := []string{}
		if c.header != "" {
			lines = append(lines, c.header)
		}
		a := g.get(c.path, c.token, lines...)
		if a.StatusCode != c.status || c.code != "" && !strings.Contains(a.body, `"code":"`+c.code+`"`) {
			t.Errorf("%s: %d %s, want %d %s", c.name, a.StatusCode, a.body, c.status, c.code)
		}
		if served := orders.count() > before; served != (c.status == http.StatusOK) {
			t.Errorf("%s: the service was asked: %v", c.name, served)
		}
	}
	req, err := http.NewRequest(http.MethodDelete, g.base+"/users/ada/orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+sign(ada))
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("DELETE from loopback, which the example counts as the office: %d", res.StatusCode)
	}
}
