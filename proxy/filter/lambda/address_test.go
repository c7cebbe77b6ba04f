package lambda

import (
	"net/netip"
	"testing"
)

// Functions written for API Gateway read the address from X-Forwarded-For, whose
// end it vouches for. A stranger must not write it.
func TestTheFunctionIsToldTheClientsAddressAndNotTheClientsClaim(t *testing.T) {
	s := newService(t, says(policy("Allow", "*", "")))
	for _, payload := range []string{"1.0", "2.0"} {
		f := newFilter(t, s, Config{Payload: payload, TTL: ttl(0)})
		for _, c := range []struct{ remote, want string }{
			{"192.0.2.7:4711", "192.0.2.7"},          // the client itself
			{"10.0.0.1:4711", "10.9.9.9, 192.0.2.7"}, // a trusted proxy, which names it
		} {
			x := request("GET", "/orders/7", "", "Authorization", "t", "X-Forwarded-For", c.want, "X_Real-IP", "10.9.9.9", "Forwarded", "for=10.9.9.9")
			x.Client.Remote = netip.MustParseAddrPort(c.remote)
			if c.remote[:3] == "192" {
				x.Request.Header.Set("X-Forwarded-For", "10.9.9.9")
			}
			if _, code := outcome(f.OnRequest(x)); code != "" {
				t.Fatal(code)
			}
			_, event := s.last(t)
			got := map[string]any{}
			for name, value := range event["headers"].(map[string]any) {
				switch name {
				case "X-Forwarded-For", "x-forwarded-for":
					got["for"] = value
				case "X_Real-IP", "x_real-ip":
					got["real"] = value
				}
			}
			if got["for"] != c.want {
				t.Errorf("%s from %s: told that the client is %v, want %s", payload, c.remote, got["for"], c.want)
			}
			if c.remote[:3] == "192" && got["real"] != nil {
				t.Errorf("%s: a stranger's X_Real-IP is handed on", payload)
			}
		}
	}
}
