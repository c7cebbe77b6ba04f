package examples_test

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

func TestHedgingExample(t *testing.T) {
	var stuck atomic.Bool
	var gaveUp atomic.Int64
	hold := make(chan struct{})
	answers := func(name string, sticks bool) *service {
		return newHandler(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			if sticks && stuck.Load() {
				select {
				case <-r.Context().Done():
					gaveUp.Add(1)
					return
				case <-hold:
				}
			}
			_, _ = io.WriteString(w, name+" "+r.Method+" "+r.URL.Path+" "+string(b))
		})
	}
	t.Cleanup(func() { close(hold) })
	a, b := answers("a", true), answers("b", false)
	g := start(t, "hedging.yaml", map[string]string{"CATALOG_A": a.addr(), "CATALOG_B": b.addr(), "SEARCH_A": a.addr(), "SEARCH_B": b.addr()})

	fromB := 0
	for range 150 { // until it is known how long answers take
		if got := g.get("/catalog/x", ""); got.StatusCode != http.StatusOK {
			t.Fatalf("%d %q", got.StatusCode, got.body)
		} else if got.body[0] == 'b' {
			fromB++
		}
	}
	if fromB == 150 {
		t.Error("a was never asked")
	}
	stuck.Store(true)
	for i := range 20 {
		var got answer
		want := "b GET /catalog/x "
		if i%2 == 0 {
			got = g.get("/catalog/x", "")
		} else {
			got, want = g.post("/search", "shoes", http.Header{}), "b POST /search shoes"
		}
		if got.StatusCode != http.StatusOK || got.body != want {
			t.Errorf("%d %q", got.StatusCode, got.body)
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	for gaveUp.Load() == 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	if gaveUp.Load() == 0 {
		t.Error("a never heard that it need not answer any more")
	}
	if got := g.get("/elsewhere", ""); got.StatusCode != http.StatusNotFound {
		t.Errorf("%d", got.StatusCode)
	}
}
