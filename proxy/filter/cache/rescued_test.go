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

// Who looks at what became of the service, as a split that may be rolled back does,
// is told of a failing status that a stale answer hides, as the pipe tells of a fault.
func TestAStaleAnswerDoesNotHideThatTheServiceFailed(t *testing.T) {
	r := newRig(t, Config{})
	if got := r.do(request("GET /a"), says(200, "old", "Cache-Control: max-age=1, stale-if-error=60")); got != "old" {
		t.Fatal(got)
	}
	r.advance(30 * time.Second)
	x := request("GET /a")
	if got := r.do(x, says(500, "no")); got != "old" || x.Response.Status != 200 {
		t.Fatal(got, x.Response.Status)
	}
	if x.Fault != nil || x.Rescued == nil || x.Rescued.Source != exchange.FromUpstream || x.Rescued.Status != 500 {
		t.Errorf("%+v, %+v", x.Fault, x.Rescued)
	}
}
