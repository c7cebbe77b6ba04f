package cluster

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"lintel.dev/lintel/proxy/cluster/clustertest"
)

func TestReplaceTouchesOnlyWhatChanged(t *testing.T) {
	tr := &clustertest.Transport{}
	c := newTest(t, tr, Config{Balance: "round_robin"}, "a:1", "b:1")
	x := newExchange("GET", "")
	if f := c.Forward(x, &opts); f != nil {
		t.Fatal(f)
	}
	busy := x.Endpoint
	before := c.lineup.Load().members
	c.Replace([]Endpoint{{Address: "b:1"}, {Address: "a:1"}, {Address: "b:1", Weight: 9}, {Address: "c:1"}})
	after := c.lineup.Load().members
	if c.Size() != 3 || after[0] != before[1] || after[1] != before[0] || len(tr.Retired()) != 0 {
		t.Errorf("%+v retired %v", c.Status(), tr.Retired())
	}
	// A new weight keeps the count of what is in flight, and that count ends.
	c.Replace([]Endpoint{{Address: busy, Weight: 5}})
	if s := c.Status(); s.Endpoints[0].Busy != 1 || s.Endpoints[0].Weight != 5 || s.InFlight != 1 {
		t.Errorf("%+v", s)
	}
	if got := tr.Retired(); len(got) != 2 || slices.Contains(got, busy) {
		t.Error(got)
	}
	over(x)
	if s := c.Status(); s.Endpoints[0].Busy != 0 {
		t.Errorf("%+v", s)
	}
	c.Replace(nil)
	if len(tr.Retired()) != 3 || c.Size() != 0 {
		t.Error(tr.Retired())
	}
}

func TestReplaceUnderLoad(t *testing.T) {
	tr := &clustertest.Transport{}
	c := newTest(t, tr, Config{}, "stays:1", "x:1")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				x := newExchange("GET", "")
				if f := c.Forward(x, &opts); f != nil {
					t.Error(f)
				} else if b, _ := io.ReadAll(x.Response.Body); string(b) != "ok" {
					t.Errorf("%q", b)
				}
				over(x)
			}
		})
	}
	for i := range 500 {
		c.Replace([]Endpoint{{Address: "stays:1", Weight: i % 3}, {Address: fmt.Sprint("e", i%5)}})
		c.Status()
	}
	close(stop)
	wg.Wait()
	if slices.Contains(tr.Retired(), "stays:1") {
		t.Error("retired what stayed")
	}
}

func TestCloseEndsTheWatchOnce(t *testing.T) {
	n, tr := 0, &clustertest.Transport{}
	c := newTest(t, tr, Config{Stop: func() { n++ }})
	_, _ = c.Close(), c.Close()
	if n != 1 || tr.Closed() != 1 {
		t.Error(n, tr.Closed())
	}
}
