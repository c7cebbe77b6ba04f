package pipe

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/route"
)

// journal notes what happened in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, s)
}

func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := strings.Join(j.lines, " ")
	j.lines = nil
	return s
}

// probe is a filter that notes its calls and does what the test says.
type probe struct {
	name string
	j    *journal
	do   map[string]func(x *exchange.Exchange)
	v    filter.Verdict
	save bool
}

func (p *probe) note(x *exchange.Exchange, what string) {
	p.j.add(p.name + "." + what)
	if f := p.do[what]; f != nil {
		f(x)
	}
}

func (p *probe) OnRequest(x *exchange.Exchange) filter.Verdict {
	x.Keep(p.name)
	p.note(x, "req")
	return p.v
}
func (p *probe) OnResponse(x *exchange.Exchange) { p.own(x); p.note(x, "resp") }
func (p *probe) OnFault(x *exchange.Exchange, _ *exchange.Fault) bool {
	p.own(x)
	p.note(x, "fault")
	return p.save
}
func (p *probe) Done(x *exchange.Exchange) { p.own(x); p.note(x, "done") }

func (p *probe) own(x *exchange.Exchange) {
	if x.Kept() != p.name {
		p.j.add(fmt.Sprintf("%s-found-%v", p.name, x.Kept()))
	}
}

type watcher struct {
	j  *journal
	do map[string]func(x *exchange.Exchange)
}

func (w *watcher) note(x *exchange.Exchange, what string) {
	w.j.add(what)
	if f := w.do[what]; f != nil {
		f(x)
	}
}
func (w *watcher) Begin(x *exchange.Exchange)   { w.note(x, "begin") }
func (w *watcher) Forward(x *exchange.Exchange) { w.note(x, "forward") }
func (w *watcher) End(x *exchange.Exchange)     { w.note(x, "end") }

// kit is a pipe with one service, one filter on all exchanges and two on the
// route.
type kit struct {
	*testing.T
	j        *journal
	tr       *clustertest.Transport
	always   *probe
	a, b     *probe
	obs      *watcher
	cfg      Config
	route    route.Route
	pipe     *Pipe
	live     Live
	released int
}

func newKit(t *testing.T) *kit {
	k := &kit{T: t, j: &journal{}, tr: &clustertest.Transport{}}
	mk := func(name string) *probe {
		return &probe{name: name, j: k.j, do: map[string]func(*exchange.Exchange){}}
	}
	k.always, k.a, k.b = mk("always"), mk("a"), mk("b")
	k.obs = &watcher{k.j, map[string]func(*exchange.Exchange){}}
	c := cluster.New(cluster.Config{Service: "orders", Transport: k.tr})
	c.Replace([]cluster.Endpoint{{Address: "o:1"}})
	k.route = route.Route{Name: "r", Match: route.Match{Path: "/a/*", Methods: []string{"GET", "OPTIONS"}}, Cluster: c}
	k.cfg = Config{Edge: true, Observers: []Observer{k.obs}, Trusted: Prefixes{netip.MustParsePrefix("10.0.0.0/8")}}
	t.Cleanup(func() {
		if s := c.Status(); s.InFlight != 0 || s.Connections != 0 || s.Endpoints[0].Busy != 0 {
			t.Errorf("left in flight: %+v", s)
		}
	})
	return k
}

func (k *kit) table() *route.Table {
	bind := func(p *probe) filter.Instance {
		in, err := filter.Bind(p.name, "", p)
		if err != nil {
			k.Fatal(err)
		}
		return in
	}
	r := k.route
	r.Filters = []filter.Instance{bind(k.a), bind(k.b)}
	t, err := route.Compile(route.Spec{Always: []filter.Instance{bind(k.always)}, Routes: []route.Route{r}, Release: func() { k.released++ }})
	if err != nil {
		k.Fatal(err)
	}
	return t
}

func (k *kit) start() *kit {
	k.live.Swap(k.table())
	k.pipe = New(k.cfg, &k.live)
	return k
}

func (k *kit) get(path string, header ...string) *exchange.Exchange {
	x := &exchange.Exchange{Start: time.Now(), ID: "id-1"}
	x.Begin(k.Context())
	x.Client.Remote = netip.MustParseAddrPort("192.0.2.9:1234")
	x.Request = exchange.Request{Method: "GET", Scheme: "https", Authority: "Shop.example:443", Path: path, Proto: "HTTP/1.1"}
	for i := 0; i < len(header); i += 2 {
		x.Request.Header.Add(header[i], header[i+1])
	}
	return x
}

// finish does what an engine does after Serve.
func (k *kit) finish(x *exchange.Exchange) {
	if x.Response.Body != nil {
		func() {
			defer func() { _ = recover() }()
			_ = x.Response.Body.Close()
		}()
	}
	k.pipe.Finish(x)
	k.pipe.Finish(x)
	if n := k.pipe.Open.Load(); n != 0 {
		k.Errorf("%d exchanges still open", n)
	}
	if err := x.Context().Err(); err == nil && x.Attempts > 0 {
		k.Error("the exchange's context was not ended")
	}
}

func (k *kit) run(x *exchange.Exchange) *exchange.Exchange {
	k.pipe.Serve(x)
	k.finish(x)
	return x
}
