package openapi

import (
	"context"
	"errors"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func TestBodiesAreCheckedSoManyAtOnce(t *testing.T) {
	f := newFilter(t, Config{Parallel: 1})
	f.wait = time.Millisecond
	f.slots <- struct{}{} // another is being checked
	order := func() *exchange.Exchange {
		return request("POST /v1/orders", `{"items":[{"sku":"A-1","qty":2}]}`, isJSON, "X-Tenant: acme")
	}
	fault := f.OnRequest(order()).Fault()
	if fault == nil || fault.Status != 503 || fault.Code != "validation-busy" || fault.RetryAfter != time.Second {
		t.Fatalf("%+v", fault)
	}
	// What has no body to check waits for nobody.
	if got := told(f.OnRequest(request("GET /v1/orders?limit=0", "", "X-Tenant: acme")).Fault()); got != "400 request-invalid query:limit" {
		t.Error(got)
	}
	<-f.slots
	if fault := f.OnRequest(order()).Fault(); fault != nil && fault.Code == "validation-busy" {
		t.Errorf("with a free slot: %+v", fault)
	}
	if len(f.slots) != 0 {
		t.Error("a slot is kept")
	}
}

func TestWhoWaitsForASlotEndsWithItsExchange(t *testing.T) {
	s := make(slots, 1)
	s <- struct{}{}
	ctx, cancel := context.WithCancelCause(context.Background())
	gone := errors.New("gone")
	cancel(gone)
	if err := s.do(ctx, time.Hour, func() { t.Error("it ran") }); !errors.Is(err, gone) {
		t.Error(err)
	}
}

func TestFiltersOfOneNumberShareTheirSlots(t *testing.T) {
	lease := leased(t)
	build := func(n int) *Filter {
		f, err := Kind().Build(&Config{Document: "testdata/shop.yaml", Parallel: n}, &filter.Env{Store: lease})
		if err != nil {
			t.Fatal(err)
		}
		return f.(*Filter)
	}
	if a, b := build(2), build(2); a.slots != b.slots || cap(a.slots) != 2 {
		t.Error("two filters of one number have slots of their own")
	}
}

func leased(t testing.TB) *store.Lease {
	lease := store.NewSet().Lease()
	t.Cleanup(lease.Release)
	return lease
}
