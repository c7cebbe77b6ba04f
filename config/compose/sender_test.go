package compose

import (
	"errors"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func TestAnExpiredTransactionIsToldHere(t *testing.T) {
	s := &Sender{ID: &Identity{TrustDomain: "td"}, Workload: true}
	x := &exchange.Exchange{Txn: &exchange.Txn{Token: "old", ID: "t", Expires: time.Now().Add(-time.Second)}}
	err := s.BeforeWrite(x, &exchange.ConnInfo{PeerID: "spiffe://td/svc/b"})
	var f *exchange.Fault
	if !errors.As(err, &f) || f.Code != "transaction-expired" || f.Status != 401 || f.Source != exchange.FromPolicy {
		t.Fatalf("%v", err)
	}
}

func TestInternalTokensStayInside(t *testing.T) {
	x := &exchange.Exchange{Txn: &exchange.Txn{Token: "tok"}}
	x.Request.Header.Add("Txn-Token", "tok")
	x.Request.Header.Add("hop-token", "hop")
	if err := (&Sender{ID: &Identity{TrustDomain: "td"}}).BeforeWrite(x, &exchange.ConnInfo{}); err != nil {
		t.Fatal(err)
	}
	if x.Request.Header.Len() != 0 {
		t.Fatal("a token went to a service outside the mesh")
	}
}

func TestOneScopeDoesNotPassForTwo(t *testing.T) {
	if got := words([]string{"read", "read admin:write", "", "x"}); got != "read x" {
		t.Fatalf("%q", got)
	}
}
