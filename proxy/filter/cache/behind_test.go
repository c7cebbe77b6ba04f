package cache

import (
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Put before the filter that finds out who calls, the cache cannot tell callers
// apart when it is asked. It must not give one's answer to another.
func TestAnAnswerToWhomAFilterBehindTheCacheFoundOutIsNotKept(t *testing.T) {
	for name, found := range map[string]func(*exchange.Exchange){
		"user": func(x *exchange.Exchange) {
			x.Identity = &exchange.Identity{Method: "certificate", Issuer: "i", Subject: "ada"}
		},
		"consumer": func(x *exchange.Exchange) { x.Consumer = "ada" },
		"vouched":  func(x *exchange.Exchange) { x.Vouch([32]byte{1}) },
	} {
		r := newRig(t, Config{TTL: time.Minute})
		r.do(request("GET /me"), func(x *exchange.Exchange) *exchange.Fault {
			found(x)
			return says(200, "ada's")(x)
		})
		if got := r.do(request("GET /me"), says(200, "bob's")); got != "bob's" {
			t.Errorf("%s: bob got %s", name, got)
		}
		// What the service says is for all is.
		r.do(request("GET /all"), func(x *exchange.Exchange) *exchange.Fault {
			found(x)
			return says(200, "everybody's", "Cache-Control: public, max-age=60")(x)
		})
		if got := r.do(request("GET /all"), says(200, "again")); got != "everybody's" {
			t.Errorf("%s: public, and yet %s", name, got)
		}
	}
}

func TestAWorkloadsOwnTransactionIsNobodysAnswer(t *testing.T) {
	r := newRig(t, Config{TTL: time.Minute})
	r.do(request("GET /"), func(x *exchange.Exchange) *exchange.Fault {
		x.Txn = &exchange.Txn{Subject: "spiffe://td/edge", Self: true} // minted as the connection is written to
		return says(200, "kept")(x)
	})
	if got := r.do(request("GET /"), says(200, "again")); got != "kept" {
		t.Errorf("got %s", got)
	}
}
