package ops_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// stalls answers every request by its id. The first request of every third id
// stalls until its caller gives it up: only a second one is answered. The next id's
// first request is answered about when the second is sent.
type stalls struct {
	seen     sync.Map
	givenUp  atomic.Int64
	answered atomic.Int64
}

const hedgeAfter = 30 * time.Millisecond

func (s *stalls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("id")
	n, _ := strconv.Atoi(id)
	if _, again := s.seen.LoadOrStore(r.URL.RequestURI(), true); !again {
		wait := []time.Duration{time.Hour, hedgeAfter, 0}[n%3]
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
			s.givenUp.Add(1)
			return
		}
	}
	s.answered.Add(1)
	w.Header().Set("X-Id", id)
	if n%2 == 0 {
		w.Header().Set("Trailer", "X-End")
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(hedgedBody(n))))
	}
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(hedgedBody(n))
	w.Header().Set("X-End", id)
}

// hedgedBody is up to 150 KB that belong to n alone.
func hedgedBody(n int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%07d ", n)), n*n%19000) }

// relay is a second way to an address, as if there were two endpoints.
func relay(t testing.TB, to string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = in.Close() }()
				out, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				go func() {
					_, _ = io.Copy(in, out)
					_ = in.Close()
				}()
				_, _ = io.Copy(out, in)
				_ = out.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// Hedged requests through the real thing: every client gets the answer to its own
// request, whole, whichever attempt brought it; what is given up is given up at
// the service too; and in the end nothing counts as in flight.
func TestHedgedRequests(t *testing.T) {
	t.Parallel()
	s := &stalls{}
	const route = `
  - name: %s
    match: {path: /%[1]s/*}
    strip_prefix: /%[1]s
    authorization: drop
    service: %[1]s
    retries: {attempts: 0}
    hedge: {after: 30ms, methods: [GET, HEAD, POST]}
`
	const terms = ", retry_budget: {ratio: 10, min_per_second: 1000}" // a third is hedged
	a, b := kit.StartApp(t, "a", ""), kit.StartApp(t, "b", "")
	a.Extra["/h"], b.Extra["/h"] = s.ServeHTTP, s.ServeHTTP
	c := kit.StartChain(t, kit.ChainOptions{
		Routes: fmt.Sprintf(route, "one") + fmt.Sprintf(route, "two") + fmt.Sprintf(route, "mesh"),
		Services: fmt.Sprintf("  one: {static: [%s, %s], protocol: http1%s}\n  two: {static: [%[1]s, %[2]s], protocol: h2%[3]s}\n", a.Addr, b.Addr, terms) +
			"  mesh: {mesh: true, spiffe_id: spiffe://lintel.local/svc/orders, static: [@1, @2]" + terms + "}\n",
		Terms:     terms,
		NoIngress: true,
	})
	c.Orders.App.Extra["/h"] = s.ServeHTTP
	kit.Replace(t, c.File, strings.NewReplacer("@1", c.Orders.Mesh, "@2", relay(t, c.Orders.Mesh)).Replace(c.Config))
	kit.Start(t, nil, "ingress", "-c", c.File).Ready(c.Admin)
	// And orders' own calls, through the port that its sidecar has for a service.
	c.Inventory.App.Extra["/h"] = s.ServeHTTP
	upstream, admin := kit.FreeAddr(t), kit.FreeAddr(t)
	sidecar := strings.NewReplacer(c.Orders.App.Outbound, kit.FreeAddr(t), c.Orders.Mesh, kit.FreeAddr(t), c.Orders.Admin, admin,
		"  check:", "  upstreams: [{service: inventory, bind: "+strconv.Quote(upstream)+", hedge: {after: 30ms, methods: [GET, HEAD, POST]}}]\n  check:",
		"static: ["+c.Inventory.Mesh, "static: ["+c.Inventory.Mesh+", "+relay(t, c.Inventory.Mesh)).Replace(c.Orders.Config)
	kit.Start(t, nil, "sidecar", "-c", kit.File(t, "sidecar.yaml", sidecar)).Ready(admin)

	two := &http.Transport{Protocols: new(http.Protocols)}
	two.Protocols.SetUnencryptedHTTP2(true)
	clients := map[string]*http.Client{"HTTP/1.1": {Transport: &http.Transport{MaxIdleConnsPerHost: 64}}, "HTTP/2": {Transport: two}}
	for proto, client := range clients {
		for service, base := range map[string]string{"one": c.Edge + "/one", "two": c.Edge + "/two", "mesh": c.Edge + "/mesh", "the upstream": upstream} {
			t.Run(proto+" to "+service, func(t *testing.T) {
				t.Cleanup(client.CloseIdleConnections)
				hedgedLoad(t, client, "http://"+base+"/h?by="+url.QueryEscape(proto+" to "+service)+"&id=")
			})
		}
	}
	for _, at := range []struct{ admin, service string }{{c.Admin, "one"}, {c.Admin, "two"}, {c.Admin, "mesh"}, {admin, "inventory"}} {
		if won := metric(t, at.admin, `lintel_hedges_total{lintel_service="`+at.service+`",outcome="won"}`); won < 100 {
			t.Errorf("%s: %g were won", at.service, won)
		}
		kit.Eventually(t, time.Minute, "nothing is in flight", func() error {
			_, body := fetch(at.admin, "/services?compact")
			if n := regexp.MustCompile(`"(in_flight|busy)": *[1-9]`).FindString(body); n != "" {
				return errors.New(body)
			}
			return nil
		})
		if n := metric(t, at.admin, "lintel_panics_total"); n != 0 {
			t.Errorf("%s: %g panics", at.service, n)
		}
	}
	if s.givenUp.Load() < 400 {
		t.Errorf("services noticed of only %d attempts that they were given up", s.givenUp.Load())
	}
}

func hedgedLoad(t *testing.T, client *http.Client, to string) {
	var next atomic.Int64
	var all sync.WaitGroup
	var tooLate atomic.Int64
	for range 12 {
		all.Go(func() {
			for n := int(next.Add(1)); n <= 240; n = int(next.Add(1)) {
				began := time.Now()
				if err := hedgedRequest(t.Context(), client, to, n); err != nil {
					t.Errorf("%d: %v", n, err)
				}
				if time.Since(began) > 5*time.Second {
					tooLate.Add(1)
				}
			}
		})
	}
	all.Wait()
	if tooLate.Load() != 0 {
		t.Errorf("%d took long", tooLate.Load())
	}
}

var errLeaves = errors.New("the client leaves")

func hedgedRequest(ctx context.Context, client *http.Client, to string, n int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leaves := n%16 == 5
	if leaves {
		defer time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { cancel(errLeaves) }).Stop()
	}
	method, body := http.MethodGet, io.Reader(nil)
	switch n % 10 {
	case 7:
		method = http.MethodHead
	case 8:
		method, body = http.MethodPost, strings.NewReader(strings.Repeat("q", n))
	}
	req, err := http.NewRequestWithContext(ctx, method, to+strconv.Itoa(n), body)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		if leaves && context.Cause(ctx) == errLeaves {
			return nil
		}
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK || res.Header.Get("X-Id") != strconv.Itoa(n) {
		return fmt.Errorf("%s %v", res.Status, res.Header)
	}
	got, err := io.ReadAll(res.Body)
	switch {
	case leaves && context.Cause(ctx) == errLeaves:
		return nil
	case err != nil:
		return err
	case method == http.MethodHead:
		return nil
	case !bytes.Equal(got, hedgedBody(n)):
		return fmt.Errorf("a body of %d bytes that begins with %.20q", len(got), got)
	case n%2 == 0 && res.Trailer.Get("X-End") != strconv.Itoa(n):
		return fmt.Errorf("trailers %v", res.Trailer)
	}
	return nil
}

// What a hedge is for: a service that is now and then slow, whoever is asked.
func TestAHedgeCutsTheTail(t *testing.T) {
	t.Parallel()
	const slow = 400 * time.Millisecond
	var asked atomic.Int64
	h := func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		wait := 5 * time.Millisecond
		if rand.IntN(100) < 4 {
			wait = slow
			w.Header().Set("X-Slow", "yes")
		}
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
		}
	}
	a, b := kit.StartApp(t, "a", ""), kit.StartApp(t, "b", "")
	a.Extra["/"], b.Extra["/"] = h, h
	edge, admin := kit.FreeAddr(t), kit.FreeAddr(t)
	kit.Start(t, nil, "ingress", "-c", kit.File(t, "tail.yaml", fmt.Sprintf(`version: 1
listeners: [{name: edge, address: %q}]
admin: {address: %q}
routes:
  - {name: without, match: {path: /without}, rewrite: {path: /}, service: s}
  - {name: with, match: {path: /with}, rewrite: {path: /}, service: s, hedge: p90}
services: {s: {static: [%q, %q]}}
`, edge, admin, a.Addr, b.Addr))).Ready(admin)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	t.Cleanup(client.CloseIdleConnections)
	const n = 2000
	load := func(path string, n int) (float64, []time.Duration) {
		var late atomic.Int64
		var times []time.Duration
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				for range n / 20 {
					began := time.Now()
					res, err := client.Get("http://" + edge + path)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					if res.StatusCode != http.StatusOK {
						t.Error(res.Status)
					}
					if res.Header.Get("X-Slow") != "" {
						late.Add(1)
					}
					mu.Lock()
					times = append(times, time.Since(began))
					mu.Unlock()
				}
			})
		}
		all.Wait()
		slices.Sort(times)
		return float64(late.Load()) / float64(len(times)), times
	}
	without, t0 := load("/without", n)
	load("/with", 1000) // it learns what is usual
	asked.Store(0)
	with, t1 := load("/with", n)
	extra := float64(asked.Load())/n - 1
	at := func(times []time.Duration, q float64) time.Duration {
		return times[int(q*float64(len(times)-1))].Round(time.Millisecond / 10)
	}
	t.Logf("slow: %.2f%% without, %.2f%% with, and %.1f%% more requests; p50 %v %v, p95 %v %v, p99 %v %v", 100*without, 100*with, 100*extra,
		at(t0, 0.5), at(t1, 0.5), at(t0, 0.95), at(t1, 0.95), at(t0, 0.99), at(t1, 0.99))
	if with > without/3 {
		t.Errorf("%.2f%% were slow, without a hedge %.2f%%", 100*with, 100*without)
	}
	if extra > 0.2 { // p90, and the default retry budget is a fifth
		t.Errorf("%.1f%% more requests", 100*extra)
	}
}
