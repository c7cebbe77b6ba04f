package cache

import (
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// An authorizer may tell the service who is asking without telling Lintel: what
// is made for one such caller is no other's.
func TestWhatAnAuthorizerTellsTheServiceTellsCallersApart(t *testing.T) {
	r := newRig(t, Config{TTL: time.Minute})
	as := func(b byte) *exchange.Exchange {
		x := request("GET /me")
		if b != 0 {
			x.Vouch([32]byte{b})
		}
		return x
	}
	if got := r.do(as(1), says(200, "ada's")); got != "ada's" {
		t.Fatal(got)
	}
	if got := r.do(as(2), says(200, "bob's")); got != "bob's" {
		t.Errorf("bob got %s", got)
	}
	if got := r.do(as(0), says(200, "nobody's")); got != "nobody's" {
		t.Errorf("nobody got %s", got)
	}
	if got := r.do(as(1), says(200, "again")); got != "ada's" {
		t.Errorf("ada got %s, want what is kept for her", got)
	}
	both := as(1)
	both.Vouch([32]byte{2})
	if got := r.do(both, says(200, "both")); got != "both" {
		t.Errorf("who is vouched for twice got %s", got)
	}
	if d := as(1).Detached(); d.Vouched != as(1).Vouched {
		t.Error("a renewal is somebody else's")
	}
}
