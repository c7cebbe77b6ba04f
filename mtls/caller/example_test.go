package caller_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"lintel.dev/lintel/mtls/caller"
)

// An app behind its sidecar. FromSidecar("http://127.0.0.1:9901",
// "corp.example") in place of TrustHeaders verifies the Txn-Token as well.
func Example() {
	callers := caller.TrustHeaders()
	pay := func(w http.ResponseWriter, r *http.Request) {
		c, err := callers.Of(r)
		switch {
		case err != nil:
			http.Error(w, "", http.StatusUnauthorized)
		case c.User == "" || !c.May("payments.write"):
			http.Error(w, "", http.StatusForbidden)
		default:
			fmt.Printf("%s pays, by %s\n", c.User, c.Service())
		}
	}

	r := httptest.NewRequest("POST", "/pay", nil) // as the sidecar sends it
	r.RemoteAddr = "127.0.0.1:50000"
	r.Header.Set("X-User-Id", "ada")
	r.Header.Set("X-User-Scope", "payments.write")
	r.Header.Set("X-Lintel-Chain", "spiffe://corp.example/svc/ingress, spiffe://corp.example/svc/orders")
	pay(httptest.NewRecorder(), r)
	// Output: ada pays, by spiffe://corp.example/svc/orders
}
