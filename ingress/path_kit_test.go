package ingress

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/pipe"
	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/tracing"
)

// plain is the smallest gateway there is: everything else is its default.
const plain = `
version: 1
listeners:
  - {name: edge, address: "127.0.0.1:0"}
routes:
  - {name: shop, match: {path: /shop/*}, service: shop}
services:
  shop: {static: ["127.0.0.1:9000", "127.0.0.1:9001"]}
tracing: {sample: 0}
`

// path is the whole way of an exchange but the sockets: the ingress's own pipe,
// table, filters and observers between an engine and a transport that cost next
// to nothing.
type path struct {
	pipe    *pipe.Pipe
	x       *exchange.Exchange
	metrics *tracing.Metrics
	wire    *wire
	log     *lines
	close   func() // flushes the access log
	fields  []exchange.Field
	views   []byte // what the strings of the exchange in hand look into; nil: they are constants
	buf     []byte
	bad     string
}

// lines is the access log's writer. It is read once the log is closed.
type lines struct {
	keep bool
	bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	if l.keep {
		return l.Buffer.Write(b)
	}
	return len(b), nil
}

func newPath(tb testing.TB, text string) *path {
	tb.Helper()
	s, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	registry, err := compose.Registry()
	if err != nil {
		tb.Fatal(err)
	}
	c := &compiler{registry: registry, stores: store.NewSet(), log: log, redis: &compose.Redis{Offline: true},
		clusters: &compose.Clusters{Feed: compose.OfflineFeed(s.Discovery)}}
	table, err := c.compile(s)
	if err != nil {
		tb.Fatal(err)
	}
	p := &path{x: &exchange.Exchange{}, fields: ordinary[:], buf: make([]byte, 4096), log: &lines{}}
	p.x.Request.Header.Recycle() // as an engine does whose strings are views
	p.x.Response.Header.Recycle()
	p.wire = &wire{p: p}
	// The routes keep their terms and the clusters theirs; only the wire goes.
	for _, r := range table.Routes() {
		svc := s.Services[r.Cluster.Service()]
		r.Cluster = cluster.New(cluster.Config{Service: r.Cluster.Service(), Protocol: svc.Protocol, Balance: svc.Balance,
			Breaker: cluster.BreakerConfig(svc.Breaker), Transport: p.wire})
		r.Cluster.Replace([]cluster.Endpoint{{Address: svc.Static[0].Address}, {Address: svc.Static[1].Address}})
	}
	live := new(pipe.Live)
	live.Swap(table)
	observers, err := compose.NewObservers(s.Tracing, "lintel-ingress", "test", p.log, log)
	if err != nil {
		tb.Fatal(err)
	}
	p.metrics = observers.Metrics
	p.close = sync.OnceFunc(func() {
		observers.Close(context.Background())
		live.Swap(nil)
	})
	tb.Cleanup(p.close)
	l := s.Listeners[0]
	list, err := observers.For(context.Background(), tracing.Edge, l.TrustedProxies)
	if err != nil {
		tb.Fatal(err)
	}
	p.pipe = pipe.New(pipe.Config{Edge: true, Path: compose.PathMode(l.Path), Trusted: l.TrustedProxies, Observers: list, Log: log}, live)
	return p
}

// view is s, or a view of it that dies with the exchange.
func (p *path) view(s string) string {
	if p.views == nil || s == "" {
		return s
	}
	if len(p.views)+len(s) > cap(p.views) {
		panic("the test's buffer is too small")
	}
	n := len(p.views)
	p.views = append(p.views, s...)
	return unsafe.String(&p.views[n], len(s))
}

// scribble does to views what an engine's next read does.
func (p *path) scribble() {
	for i := range p.views {
		p.views[i] = scribbled
	}
	p.views = p.views[:0]
}

const scribbled = 0xdb // in no text: half of a character that does not go on

var (
	local  = netip.MustParseAddrPort("192.0.2.1:8080")
	remote = netip.MustParseAddrPort("198.51.100.77:50123")
)

// fill does what an engine does with a request head.
func (p *path) fill() {
	x := p.x
	x.Reset()
	x.Start = time.Now()
	x.Life() // begins
	x.Alarm = noAlarm{}
	x.Client = exchange.ConnInfo{Listener: "edge", Local: local, Remote: remote, Protocol: "http/1.1"}
	r := &x.Request
	r.Method, r.Scheme, r.Authority, r.Proto = p.view("GET"), "http", p.view("shop.example.com"), "HTTP/1.1"
	r.Target, r.Path, r.Query = p.view("/shop/items/42?full=1"), p.view("/shop/items/42"), p.view("full=1")
	for _, f := range p.fields {
		r.Header.Add(p.view(f.Name), p.view(f.Value))
	}
}

// ordinary are a browser's fields.
var ordinary = [...]exchange.Field{
	{Name: "User-Agent", Value: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
	{Name: "Accept", Value: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
	{Name: "Accept-Language", Value: "en-US,en;q=0.5"},
	{Name: "Accept-Encoding", Value: "gzip, deflate, br"},
	{Name: "Connection", Value: "keep-alive"},
	{Name: "Referer", Value: "http://shop.example.com/"},
	{Name: "Cookie", Value: "session=0123456789abcdef; theme=dark"},
	{Name: "Sec-Fetch-Dest", Value: "document"},
	{Name: "Cache-Control", Value: "max-age=0"},
	{Name: "Priority", Value: "u=0, i"},
}

// exchange serves one request from head to Finish.
func (p *path) exchange() {
	p.fill()
	x := p.x
	p.pipe.Serve(x)
	if x.Response.Status != 200 || x.Response.Body == nil {
		p.bad = "no answer from the service"
		p.pipe.Finish(x)
		return
	}
	for {
		n, err := x.Response.Body.Read(p.buf)
		x.Response.Written += int64(n)
		if err != nil {
			break
		}
	}
	_ = x.Response.Body.Close()
	p.pipe.Finish(x)
	p.scribble()
	if x.Response.Written != int64(len(page)) {
		p.bad = "the body is incomplete"
	}
}

// noAlarm is an engine's timer that never goes off.
type noAlarm struct{}

func (noAlarm) Set(time.Duration, *exchange.Life, error) {}
func (noAlarm) Stop() bool                               { return true }

// wire is a transport with one connection, which answers at once.
type wire struct {
	p    *path
	sent int // requests that came through
	info exchange.ConnInfo
	body body
}

func (w *wire) Reserve(*exchange.Exchange, string, exchange.Protocol) (exchange.Upstream, error) {
	return w, nil
}
func (w *wire) Retire(string)            {}
func (w *wire) Close()                   {}
func (w *wire) Open() int                { return 1 }
func (w *wire) Info() *exchange.ConnInfo { return &w.info }
func (w *wire) Release()                 {}

var page = make([]byte, 254)

func (w *wire) RoundTrip(x *exchange.Exchange) error {
	r := &x.Response
	r.Status, r.Proto, r.Length = 200, "HTTP/1.1", int64(len(page))
	for _, f := range answer {
		r.Header.Add(w.p.view(f.Name), w.p.view(f.Value))
	}
	w.sent++
	w.body.off = 0
	r.Body = &w.body
	return nil
}

var answer = [...]exchange.Field{
	{Name: "Server", Value: "nginx"},
	{Name: "Date", Value: "Tue, 04 Nov 2025 10:00:00 GMT"},
	{Name: "Content-Type", Value: "text/html"},
	{Name: "Connection", Value: "keep-alive"},
	{Name: "ETag", Value: `"65f1c2a0-fe"`},
	{Name: "Accept-Ranges", Value: "bytes"},
}

// body is a transport's: not one that is known to be in memory.
type body struct{ off int }

func (b *body) Read(p []byte) (int, error) {
	if b.off == len(page) {
		return 0, io.EOF
	}
	n := copy(p, page[b.off:])
	b.off += n
	return n, nil
}
func (b *body) Close() error { return nil }
func (b *body) Ready() bool  { return true }

// secured is what an API's edge does: who is it, may it, how often.
const secured = `
version: 1
listeners:
  - {name: edge, address: "127.0.0.1:0"}
routes:
  - name: shop
    match: {path: /shop/*}
    service: shop
    filters:
      - jwt: {iss: [test], audiences: [shop], keys: [{secret: "0123456789abcdef0123456789abcdef"}]}
      - rate_limit: {requests: 1000000, window: 1s, burst: 1000000, key: [subject]}
services:
  shop: {static: ["127.0.0.1:9000", "127.0.0.1:9001"]}
tracing: {sample: 0}
`

// bearer is a token that the above accepts.
func bearer() string {
	b64 := base64.RawURLEncoding
	signed := b64.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		b64.EncodeToString(fmt.Appendf(nil, `{"iss":"test","aud":"shop","sub":"ada","exp":%d}`, time.Now().Add(time.Hour).Unix()))
	mac := hmac.New(sha256.New, []byte("0123456789abcdef0123456789abcdef"))
	mac.Write([]byte(signed))
	return "Bearer " + signed + "." + b64.EncodeToString(mac.Sum(nil))
}

func (p *path) with(name, value string) *path {
	p.fields = append(slices.Clip(p.fields), exchange.Field{Name: name, Value: value})
	return p
}
