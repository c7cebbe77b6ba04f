package cluster

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

func hashLineup(addresses ...string) *lineup {
	var ms []*member
	for _, a := range addresses {
		ms = append(ms, &member{Endpoint{Address: a}, new(vitals)})
	}
	l := newLineup(ms)
	l.table = maglev(l)
	return l
}

func named(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("10.1.%d.%d:8080", i/250, i%250)
	}
	return out
}

// TestConsistentHashMovesFewKeys when an endpoint leaves or joins: its own, and a
// small part of the others'.
func TestConsistentHashMovesFewKeys(t *testing.T) {
	p := &consistentHash{inHand: new(atomic.Int64)}
	for _, n := range []int{3, 10, 100, 1000} {
		all := named(n)
		gone := n / 3
		before, after := hashLineup(all...), hashLineup(append(append([]string{}, all[:gone]...), all[gone+1:]...)...)
		const keys = 100_000
		of, strays := 0, 0
		for i := range keys {
			key := hash(fmt.Sprint("key", i))
			a, b := p.pick(before, key, &tried{}).Address, p.pick(after, key, &tried{}).Address
			switch {
			case a == all[gone]:
				of++
				if b == a {
					t.Fatal("a key stays with who is gone")
				}
			case a != b:
				strays++
			}
		}
		t.Logf("%d endpoints: one left with %.2f%% of the keys, %.2f%% of the others moved", n, 100*float64(of)/keys, 100*float64(strays)/keys)
		if share := float64(of) / keys * float64(n); share < 0.8 || share > 1.2 {
			t.Errorf("%d endpoints: one had %.2f times its share of keys", n, share)
		}
		if float64(strays)/keys > 0.04 {
			t.Errorf("%d endpoints: %d of %d keys moved although their endpoint stayed", n, strays, keys)
		}
	}
}

func TestConsistentHashIsTheSameInEveryProcess(t *testing.T) {
	// Order of discovery does not matter, nor does time: these are constants.
	p := &consistentHash{inHand: new(atomic.Int64)}
	a, b := hashLineup("a:1", "b:1", "c:1"), hashLineup("c:1", "a:1", "b:1")
	differ := 0
	for i := range 1000 {
		key := hash(fmt.Sprint(i))
		if p.pick(a, key, &tried{}).Address != p.pick(b, key, &tried{}).Address {
			differ++
		}
	}
	if differ > 5 {
		t.Errorf("%d of 1000 keys depend on the order of endpoints", differ)
	}
	if got := hash("customer-42"); got != 0xe5c7993df9de03b9 {
		t.Errorf("%#x: every Lintel that runs now would send its keys elsewhere", got)
	}
}

// TestConsistentHashBoundsLoad: with one hot key nobody gets more than the bound
// times an even share, and without a bound one gets all.
func TestConsistentHashBoundsLoad(t *testing.T) {
	for _, bound := range []float64{0, 1.25, 2} {
		l := hashLineup(named(10)...)
		inHand := new(atomic.Int64)
		p := &consistentHash{bound, inHand}
		const requests = 1000
		for i := range requests {
			key := uint64(7)
			if i%10 == 0 {
				key = mix(uint64(i)) // some others
			}
			m := p.pick(l, key, &tried{})
			m.busy.Add(1)
			inHand.Add(1)
			limit := math.Max(boundFloor, math.Ceil(bound*float64(i+1)/10))
			if bound > 0 && float64(m.busy.Load()) > limit {
				t.Fatalf("bound %v: %d of %d in flight at one of 10, at most %v expected", bound, m.busy.Load(), i+1, limit)
			}
		}
		most := int64(0)
		for _, m := range l.members {
			most = max(most, m.busy.Load())
		}
		if bound == 0 && most < 900 {
			t.Errorf("unbounded: a hot key has only %d of its 900 requests where it belongs", most)
		}
	}
}

func TestConsistentHashKeepsKeysWhileLoadIsSmall(t *testing.T) {
	l := hashLineup("a:1", "b:1", "c:1")
	p := &consistentHash{1.25, new(atomic.Int64)}
	first := p.pick(l, 99, &tried{})
	for range boundFloor - 1 {
		first.busy.Add(1)
		p.inHand.Add(1)
		if p.pick(l, 99, &tried{}) != first {
			t.Fatal("a few parallel requests of one client are split")
		}
	}
}

func TestMaglevOfExtremes(t *testing.T) {
	for _, weights := range [][]int{{1}, {1, 1000000}, {65535, 1, 1}} {
		l := weighted(weights...)
		l.table = maglev(l)
		count := make([]float64, len(weights))
		for _, i := range l.table {
			count[i]++
		}
		for i, w := range weights {
			if want := maglevSlots * float64(w) / float64(l.total) * float64(1); len(weights) > 1 && math.Abs(count[i]-want) > 2 {
				t.Errorf("%v: member %d has %v slots, want %v", weights, i, count[i], want)
			}
		}
	}
	if maglev(newLineup(nil)) != nil {
		t.Error("a table of nobody")
	}
}

func keyExchange() *exchange.Exchange {
	x := newExchange("GET", "")
	x.Request.Path, x.Request.Query = "/users/7", "a=1&tenant=acme%20inc&tenant=2"
	x.Request.Header.Add("X-Tenant", "acme")
	x.Request.Header.Add("Cookie", "other=x; session=\"abc\"")
	x.Request.Header.Add("Cookie", "late=1")
	x.ClientIP = netip.MustParseAddr("::ffff:192.0.2.7")
	x.Consumer = "billing"
	x.Identity = &exchange.Identity{Subject: "ada", Issuer: "https://i", Claims: map[string]any{"org": "o1", "n": 5}}
	x.Params = []exchange.Param{{Name: "id", Value: "7"}}
	return x
}

func TestHashKeys(t *testing.T) {
	for _, c := range []struct{ from, name, value string }{
		{"header", "x-tenant", "acme"}, {"header", "nope", ""}, {"cookie", "session", "abc"}, {"cookie", "late", "1"}, {"cookie", "nope", ""},
		{"claim", "sub", "ada"}, {"claim", "iss", "https://i"}, {"claim", "org", "o1"}, {"claim", "n", ""}, {"claim", "nope", ""},
		{"query", "tenant", "acme%20inc"}, {"query", "nope", ""}, {"param", "id", "7"}, {"consumer", "", "billing"}, {"path", "", "/users/7"},
	} {
		k := HashKey{From: c.from, Name: c.name}
		if got := k.value(keyExchange()); got != c.value {
			t.Errorf("%s %s: %q, want %q", c.from, c.name, got, c.value)
		}
	}
	// The first that is there counts; an address is the same in both spellings.
	c := New(Config{Hash: []HashKey{{From: "header", Name: "nope"}, {From: "address"}}, Transport: nothing{}})
	r := &run{c: c, x: keyExchange()}
	a, _ := c.keyOf(r)
	r.x.ClientIP = netip.MustParseAddr("192.0.2.7")
	if b, _ := c.keyOf(r); a != b {
		t.Error("192.0.2.7 is not 192.0.2.7")
	}
	r.x.ClientIP = netip.MustParseAddr("192.0.2.8")
	if b, _ := c.keyOf(r); a == b {
		t.Error("two addresses have one key")
	}
	r.x.ClientIP = netip.Addr{}
	first, _ := c.keyOf(r)
	if second, _ := c.keyOf(r); first == second {
		t.Error("no key at all: expected a random one")
	}
	if k := (&HashKey{From: "claim", Name: "sub"}).value(newExchange("GET", "")); k != "" {
		t.Error("a claim of nobody")
	}
}

func TestHashKeysDoNotAllocate(t *testing.T) {
	for _, from := range []string{"header", "cookie", "claim", "query", "param", "consumer", "path", "address"} {
		name := map[string]string{"header": "X-Tenant", "cookie": "session", "claim": "org", "query": "tenant", "param": "id"}[from]
		c := New(Config{Hash: []HashKey{{From: from, Name: name}}, Transport: nothing{}})
		r := &run{c: c, x: keyExchange()}
		if n := testing.AllocsPerRun(100, func() { c.keyOf(r) }); n != 0 {
			t.Errorf("%s: %v allocations", from, n)
		}
	}
}

func TestACookieIsSetOnceAndKeepsItsClient(t *testing.T) {
	tr := &clustertest.Transport{}
	c := newTest(t, tr, Config{Balance: "consistent_hash",
		Hash: []HashKey{{From: "cookie", Name: "lb", Cookie: &Cookie{Path: "/shop", TTL: 3600e9, Secure: true, HTTPOnly: true, SameSite: "lax"}}}},
		"a:1", "b:1", "c:1", "d:1")
	used := map[string]bool{}
	for range 40 {
		x := newExchange("GET", "")
		if f := c.Forward(x, &opts); f != nil {
			t.Fatal(f)
		}
		line := x.Response.Header.Get("Set-Cookie")
		value, attributes, _ := strings.Cut(line, ";")
		if !strings.HasPrefix(value, "lb=") || len(value) < 20 || attributes != " Path=/shop; Max-Age=3600; Secure; HttpOnly; SameSite=Lax" {
			t.Fatalf("%q", line)
		}
		first := x.Endpoint
		used[first] = true
		over(x)
		x = newExchange("GET", "")
		x.Request.Header.Add("Cookie", value)
		if f := c.Forward(x, &opts); f != nil {
			t.Fatal(f)
		}
		if x.Endpoint != first || x.Response.Header.Has("Set-Cookie") {
			t.Errorf("came back to %s, was at %s; %v", x.Endpoint, first, x.Response.Header.Get("Set-Cookie"))
		}
		over(x)
	}
	if len(used) < 3 {
		t.Errorf("40 new clients all went to %v", used)
	}
}

// TestARetryKeepsItsCookie: the one endpoint fails, another answers, and the
// client gets one cookie.
func TestARetryGetsOneCookie(t *testing.T) {
	n := 0
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		if n++; n == 1 {
			clustertest.Respond(x, 503, "no")
		} else {
			clustertest.Respond(x, 200, "yes")
		}
		return nil
	}}
	c := newTest(t, tr, Config{Balance: "consistent_hash", Hash: []HashKey{{From: "cookie", Name: "lb", Cookie: &Cookie{Path: "/"}}}}, "a:1", "b:1")
	x := newExchange("GET", "")
	if f := c.Forward(x, &opts); f != nil || x.Response.Status != 200 || x.Response.Header.Count("Set-Cookie") != 1 {
		t.Errorf("%v %+v", f, x.Response)
	}
	over(x)
}

// A connection that proves stale is replaced by another to the same endpoint: the key
// is still its own, and there is nothing wrong with it.
func TestAStaleConnectionDoesNotMoveAKey(t *testing.T) {
	for stale := 1; stale <= freeRetries; stale++ {
		tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, address string) error {
			if x.Attempts <= stale {
				return clustertest.Fault("stale-connection", true)
			}
			clustertest.Respond(x, 200, address)
			return nil
		}}
		c := newTest(t, tr, Config{Balance: "consistent_hash", Hash: []HashKey{{From: "header", Name: "X-Session"}}}, "a:1", "b:1", "c:1", "d:1")
		for i := range 20 {
			x := newExchange("GET", "")
			x.Request.Header.Set("X-Session", fmt.Sprint(i))
			first := c.pick.pick(c.lineup.Load(), hash(fmt.Sprint(i)), &tried{}).Address
			if f := c.Forward(x, &opts); f != nil || x.Endpoint != first {
				t.Errorf("key %d went from %s to %s after %d stale connections: %v", i, first, x.Endpoint, stale, f)
			}
			over(x)
		}
	}
}
