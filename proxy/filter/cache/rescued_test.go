package cache

import (
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// An answer that is configured to stand in for the service's is not the
// service's, and is given for as long as there is none, no longer.
func TestAFallbackAnswerIsNotStored(t *testing.T) {
	r := newRig(t, Config{TTL: time.Minute})
	fallback := func(x *exchange.Exchange) *exchange.Fault {
		x.Answer(200, "", []byte("fallback"))
		x.Response.Header.Set("Cache-Control", "max-age=60")
		x.Rescued = &exchange.Fault{Source: exchange.FromUpstream, Code: "connect-refused"}
		return nil
	}
	if got := r.do(request("GET /a"), fallback); got != "fallback" {
		t.Fatal(got)
	}
	if got := r.do(request("GET /a"), says(200, "fresh", "Cache-Control: max-age=60")); got != "fresh" || r.calls.Load() != 2 {
		t.Errorf("%q after %d calls", got, r.calls.Load())
	}
}
