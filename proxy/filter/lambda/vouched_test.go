package lambda

import "testing"

func TestCallersThatOnlyTheFunctionKnowsAreToldApart(t *testing.T) {
	s := newService(t, says(`{"isAuthorized":true,"context":{"tenant":"t"}}`))
	f := newFilter(t, s, Config{Payload: "2.0", Simple: true, Sources: []string{"$request.header.X-Token"}, Headers: map[string]string{"X-Tenant": "tenant"}})
	vouched := func(token string) [32]byte {
		x := request("GET", "/orders/7", "", "X-Token", token)
		if _, code := outcome(f.OnRequest(x)); code != "" {
			t.Fatal(code)
		}
		return x.Vouched
	}
	if ada, bob := vouched("ada"), vouched("bob"); ada == ([32]byte{}) || ada == bob || ada != vouched("ada") {
		t.Errorf("ada %x, bob %x", ada, bob)
	}
}
