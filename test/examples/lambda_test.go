package examples_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestLambdaAuthorizerDecides runs an authorizer as AWS's documents show one: a
// policy for what the token may do, and a context.
func TestLambdaAuthorizerDecides(t *testing.T) {
	var asked atomic.Int64
	runtime := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var event struct {
			Type, MethodArn string
			Headers         map[string]string
		}
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil || r.URL.Path != "/2015-03-31/functions/arn:aws:lambda:eu-west-1:123456789012:function:auth/invocations" {
			t.Error(err, r.URL.Path)
		}
		effect, resource := "Deny", event.MethodArn
		switch event.Headers["Authorization"] {
		case "Bearer reader":
			// Every order, to read: the policy is remembered for the others too.
			effect, resource = "Allow", event.MethodArn[:strings.Index(event.MethodArn, "/GET/")]+"/GET/orders/*"
		case "Bearer nobody":
			w.Header().Set("X-Amz-Function-Error", "Unhandled")
			_, _ = fmt.Fprint(w, `{"errorMessage":"Unauthorized"}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"principalId":"ada","policyDocument":{"Version":"2012-10-17","Statement":[{"Action":"execute-api:Invoke","Effect":%q,"Resource":%q}]},"context":{"tenantId":"acme"}}`, effect, resource)
	}))
	defer runtime.Close()
	orders := newService(t)
	g := start(t, "lambda-authorizer.yaml", map[string]string{"LAMBDA_ENDPOINT": runtime.URL, "LAMBDA_SIGN": "none", "ORDERS_ADDR": orders.addr()})
	for _, c := range []struct {
		path, token string
		status      int
		asked       int64
	}{
		{"/orders/7", "", 401, 0},
		{"/orders/7", "reader", 200, 1},
		{"/orders/8", "reader", 200, 1},
		{"/orders/7", "nobody", 401, 2},
		{"/orders/7", "other", 403, 3},
		{"/orders/7", "other", 403, 3},
	} {
		a := g.get(c.path, c.token, "X-Tenant: evil", "x_principal: eve")
		if a.StatusCode != c.status || asked.Load() != c.asked {
			t.Errorf("%s as %q: %d %s, invoked %d times, want %d and %d", c.path, c.token, a.StatusCode, a.body, asked.Load(), c.status, c.asked)
		}
	}
	if orders.count() != 2 {
		t.Errorf("the service was asked %d times, want 2", orders.count())
	}
	r := orders.last(t)
	if got := r.Header.Values("X-Tenant"); len(got) != 1 || got[0] != "acme" || r.Header.Get("X-Principal") != "ada" || r.Header.Get("x_principal") != "" {
		t.Errorf("the service saw %v", r.Header)
	}
}
