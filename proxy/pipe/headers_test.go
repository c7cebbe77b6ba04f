package pipe

import (
	"context"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/route"
)

func dump(f *exchange.Fields) string {
	var s []string
	for n, v := range f.All() {
		s = append(s, n+"="+v)
	}
	return strings.Join(s, "|")
}

// sent serves x and returns the header fields the service got.
func (k *kit) sent(x *exchange.Exchange) string {
	got := ""
	k.tr.Answer = func(x *exchange.Exchange, _ string) error {
		got = dump(&x.Request.Header)
		clustertest.Respond(x, 200, "ok")
		return nil
	}
	k.run(x)
	return got
}

func TestHopByHopFieldsEndHere(t *testing.T) {
	k := newKit(t)
	k.cfg.Edge = false
	k.start()
	got := k.sent(k.get("/a/x", "Connection", "close, X-Mine", "connection", "TE", "x-mine", "1", "Keep-Alive", "5", "TE", "gzip, trailers",
		"Proxy-Authorization", "p", "Proxy-Connection", "x", "Upgrade", "h2c", "Transfer-Encoding", "chunked", "Accept", "a"))
	if got != "Accept=a|TE=trailers|Via=1.1 lintel" {
		t.Error(got)
	}
	x := k.get("/a/x", "te", "gzip", "Via", "1.0 front")
	x.Request.Proto = "HTTP/2.0"
	if got := k.sent(x); got != "Via=1.0 front|Via=2 lintel" {
		t.Error(got)
	}
}

func TestNominatingANameDoesNotTakeOffWhatLintelAdds(t *testing.T) {
	names := []string{"X-User-Id", "Txn-Token", "Traceparent", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Via", "X-Route"}
	k := newKit(t)
	k.always.do["req"] = func(x *exchange.Exchange) { x.Request.Header.Set("X-User-Id", "7") }
	k.b.do["req"] = func(x *exchange.Exchange) { x.Request.Header.Set("X-Route", "7") }
	k.obs.do["forward"] = func(x *exchange.Exchange) { x.Request.Header.Set("Traceparent", "7") }
	k.route.Before = func(x *exchange.Exchange, _ *exchange.ConnInfo) error {
		x.Request.Header.Set("Txn-Token", "7")
		return nil
	}
	k.start()
	got := k.sent(k.get("/a/x", "Connection", strings.Join(names, ", ")+", Host, Content-Length"))
	for _, n := range names {
		if strings.Count("|"+got, "|"+n+"=") != 1 {
			t.Errorf("%s is lost: %s", n, got)
		}
	}
	// Nor do filters get framing or connection fields past the pipe.
	k.b.do["req"] = func(x *exchange.Exchange) {
		for _, n := range []string{"Host", "content-length", "Transfer-Encoding", "Connection", "Upgrade"} {
			x.Request.Header.Add(n, "evil")
		}
	}
	if got := k.sent(k.get("/a/x")); strings.Contains(got, "evil") {
		t.Error(got)
	}
}

func TestAnswersLoseOnlyTheServicesOwnConnectionFields(t *testing.T) {
	k := newKit(t)
	k.tr.Answer = func(x *exchange.Exchange, _ string) error {
		for _, n := range []string{"X-Hop", "Keep-Alive", "Upgrade", "Proxy-Authenticate", "Content-Type"} {
			x.Response.Header.Add(n, "v")
		}
		x.Response.Header.Add("Connection", "x-hop, Strict-Transport-Security")
		clustertest.Respond(x, 200, "ok")
		return nil
	}
	k.a.do["resp"] = func(x *exchange.Exchange) {
		if x.Response.Header.Has("X-Hop") {
			t.Error("a filter sees (and may store) a hop-by-hop field")
		}
		x.Response.Header.Set("Strict-Transport-Security", "max-age=1")
		x.Response.Header.Set("Connection", "Content-Type")
		x.Response.Header.Set("Content-Length", "99")
	}
	x := k.start().run(k.get("/a/x"))
	if got := dump(&x.Response.Header); got != "Content-Type=v|Via=1.1 lintel|Strict-Transport-Security=max-age=1|X-Request-ID=id-1" {
		t.Error(got)
	}
}

type tunnel struct{ io.ReadWriter }

func (tunnel) Close() error { return nil }

func TestSwitchingProtocolsKeepsUpgrade(t *testing.T) {
	k := newKit(t)
	k.route.TunnelIdle = int64(time.Minute)
	k.tr.Answer = func(x *exchange.Exchange, _ string) error {
		x.Response.Status, x.Response.Tunnel = 101, tunnel{}
		x.Response.Header.Add("Connection", "Upgrade")
		x.Response.Header.Add("Upgrade", "websocket")
		return nil
	}
	x := k.get("/a/x", "Connection", "Upgrade", "Upgrade", "websocket")
	x.Request.Upgrade = "websocket"
	k.start().run(x)
	if got := dump(&x.Response.Header); got != "Upgrade=websocket|Via=1.1 lintel|X-Request-ID=id-1" || x.Response.Status != 101 || x.Response.Tunnel == nil {
		t.Error(got)
	}
	if x.Response.TunnelIdle != time.Minute {
		t.Errorf("the tunnel may be quiet for %s", x.Response.TunnelIdle)
	}
}

func TestForwardingFields(t *testing.T) {
	k := newKit(t).start()
	claims := []string{"X-Forwarded-For", "1.1.1.1, 10.9.9.9", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "h", "X_Forwarded_For", "2.2.2.2",
		"X-Forwarded-Prefix", "/p", "Forwarded", "for=1.1.1.1", "x-real-ip", "3.3.3.3", "X-ForwardedX", "mine"}
	x := k.get("/a/x", claims...)
	if got := k.sent(x); got != "X-ForwardedX=mine|X-Forwarded-For=192.0.2.9|X-Forwarded-Proto=https|X-Forwarded-Host=Shop.example:443|Via=1.1 lintel" {
		t.Error(got)
	}
	if x.ClientIP.String() != "192.0.2.9" {
		t.Error(x.ClientIP)
	}
	x = k.get("/a/x", claims...)
	x.Client.Remote = netip.MustParseAddrPort("[::ffff:10.0.0.1]:1")
	got := k.sent(x)
	for _, want := range []string{"X-Forwarded-For=1.1.1.1, 10.9.9.9, 10.0.0.1|", "X-Forwarded-Proto=http|", "X-Forwarded-Host=h|", "Forwarded=for=1.1.1.1, for=10.0.0.1;proto=https|"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s in %s", want, got)
		}
	}
	x = k.get("/a/x")
	x.Client.Remote = netip.AddrPort{}
	if got := k.sent(x); !strings.Contains(got, "X-Forwarded-For=unknown|") {
		t.Error(got)
	}
	for list, want := range map[string]string{"": "10.0.0.1", "5.5.5.5": "5.5.5.5", "6.6.6.6, 5.5.5.5 , 10.2.2.2": "5.5.5.5", "10.3.3.3,10.2.2.2": "10.3.3.3",
		"5.5.5.5, junk": "10.0.0.1", "5.5.5.5, junk, 10.2.2.2": "10.2.2.2", "::ffff:5.5.5.5": "5.5.5.5", "5.5.5.5:99": "5.5.5.5", "[2001:db8::1]:99": "2001:db8::1", ",": "10.0.0.1"} {
		x := k.get("/a/x", "X-Forwarded-For", list)
		x.Client.Remote = netip.MustParseAddrPort("10.0.0.1:1")
		if k.run(x); x.ClientIP.String() != want {
			t.Errorf("%q: %s, want %s", list, x.ClientIP, want)
		}
	}
}

func TestRouteRewritesWhatIsForwarded(t *testing.T) {
	k := newKit(t)
	k.route.StripPrefix, k.route.RewriteHost, k.route.DropAuthorization = "/a", "inner", true
	k.tr.Answer = func(x *exchange.Exchange, _ string) error {
		if x.Request.Path != "/x" || x.Request.Authority != "inner" || x.Request.Header.Has("Authorization") || x.Request.Header.Get("X-Forwarded-Host") != "Shop.example:443" {
			t.Errorf("%+v", x.Request)
		}
		clustertest.Respond(x, 200, "ok")
		return nil
	}
	if x := k.start().run(k.get("/b/../a//x", "Authorization", "secret")); x.Response.Status != 200 {
		t.Error(x.Fault)
	}
}

func TestOptionsAsteriskIsRoutedAsTheRoot(t *testing.T) {
	k := newKit(t)
	k.route.Match.Path = "/"
	x := k.get("*")
	x.Request.Method = "OPTIONS"
	if k.start().run(x); x.Response.Status != 200 || x.Request.Path != "/" {
		t.Error(x.Fault)
	}
	if x := k.run(k.get("*")); x.Response.Status != 400 {
		t.Error(x.Response.Status)
	}
}

func TestRedirectsAndFixedAnswers(t *testing.T) {
	for _, c := range []struct {
		to   route.Redirect
		want string
	}{
		{route.Redirect{Status: 308, Scheme: "http"}, "http://shop.example/a/x/y?q=1"},
		{route.Redirect{Status: 301, Host: "other", Path: "/fixed"}, "https://other/fixed?q=1"},
		{route.Redirect{Status: 302, Path: "/new/*"}, "https://Shop.example:443/new/x/y?q=1"},
		{route.Redirect{Status: 302, Path: "/*"}, "https://Shop.example:443/x/y?q=1"},
	} {
		k := newKit(t)
		k.route.Cluster, k.route.Redirect = nil, &c.to
		x := k.get("/a//x/y")
		x.Request.Query = "q=1"
		k.start().run(x)
		if got := x.Response.Header.Get("Location"); got != c.want || x.Response.Status != c.to.Status {
			t.Errorf("%+v: %s", c.to, got)
		}
	}
	k := newKit(t)
	k.route.Cluster, k.route.Respond = nil, &route.Respond{Status: 200, Body: []byte("hi"), Header: []exchange.Field{{Name: "Link", Value: "a"}, {Name: "Link", Value: "b"}}}
	k.start()
	for range 2 {
		x := k.get("/a")
		k.pipe.Serve(x)
		if b, _ := io.ReadAll(x.Response.Body); string(b) != "hi" || x.Response.Header.Joined("Link") != "a, b" {
			t.Errorf("%q %s", b, dump(&x.Response.Header))
		}
		k.finish(x)
	}
}

// stream is a body as a transport gives it: reading fails once the context
// that RoundTrip saw ends, and it must not be closed while it is read.
type stream struct {
	ctx     context.Context
	parts   chan string
	reading chan struct{}
}

func (s *stream) Read(p []byte) (int, error) {
	s.reading <- struct{}{}
	defer func() { <-s.reading }()
	select {
	case part, ok := <-s.parts:
		if !ok {
			return 0, io.EOF
		}
		return copy(p, part), nil
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
}

func (s *stream) Close() error {
	if len(s.reading) > 0 {
		panic("closed while it is being read")
	}
	return nil
}

func TestAStalledStreamIsCutAndASlowOneIsNot(t *testing.T) {
	k := newKit(t)
	k.route.StreamIdle = int64(300 * time.Millisecond)
	k.route.Forward.Timeout = 250 * time.Millisecond // ends with the head: it must not cut the body
	parts := make(chan string, 1)
	k.tr.Answer = func(x *exchange.Exchange, _ string) error {
		x.Response.Status, x.Response.Length = 200, -1
		x.Response.Body = &stream{x.Context(), parts, make(chan struct{}, 1)}
		return nil
	}
	k.start()
	x := k.get("/a/x")
	k.pipe.Serve(x)
	buf := make([]byte, 8)
	for range 4 {
		time.Sleep(90 * time.Millisecond) // the client's slowness is not the service's
		parts <- "x"
		if n, err := x.Response.Body.Read(buf); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if _, err := x.Response.Body.Read(buf); err != errStreamIdle {
		t.Error(err)
	}
	k.finish(x)
	close(parts)
	x = k.get("/a/x")
	k.pipe.Serve(x)
	if _, err := io.ReadAll(x.Response.Body); err != nil {
		t.Error(err)
	}
	k.finish(x)
}

func TestTheEdgeTellsTheRequestID(t *testing.T) {
	for _, edge := range []bool{true, false} {
		p := New(Config{Edge: edge}, &Live{})
		x := &exchange.Exchange{ID: "abc"}
		p.Serve(x)
		if got := x.Response.Header.Get("X-Request-ID"); (got == "abc") != edge {
			t.Errorf("edge %t: X-Request-ID is %q", edge, got)
		}
		p.Finish(x)
	}
}

func TestStrangersClaimsByOtherNames(t *testing.T) {
	k := newKit(t).start()
	var sent *exchange.Exchange
	x := k.get("/a/x", "True-Client-IP", "1.2.3.4", "CF_Connecting_IP", "1.2.3.4", "X-Client-Ip", "1.2.3.4", "X-Original-Host", "evil", "X-Clients", "kept")
	sent = k.run(x)
	for name, value := range sent.Request.Header.All() {
		if value == "1.2.3.4" || value == "evil" {
			t.Errorf("%s: %s reached the service", name, value)
		}
	}
	if sent.Request.Header.Get("X-Clients") != "kept" {
		t.Error("a field that only looks alike went too")
	}
}

// Filters, and matches, must not take a stranger's word for where it comes from.
func TestFiltersDoNotSeeWhatStrangersClaim(t *testing.T) {
	k := newKit(t).start()
	var seen string
	look := func(x *exchange.Exchange) {
		seen = dump(&x.Request.Header)
		x.Request.Header.Set("X-Forwarded-Prefix", "/set") // a filter's own stays
		x.Request.Header.Set("X-Forwarded-For", "9.9.9.9") // but for what only the pipe says
	}
	k.always.do["req"] = look
	x := k.get("/a/x", "X-Forwarded-For", "1.1.1.1", "x_real.ip", "1.1.1.1", "Forwarded", "for=1.1.1.1", "X-Forwarded-Prefix", "/p", "X-Other", "1")
	if got := k.sent(x); !strings.Contains(got, "X-Forwarded-Prefix=/set|") || !strings.Contains(got, "X-Forwarded-For=192.0.2.9|") || strings.Contains(got, "1.1.1.1") {
		t.Errorf("sent %s", got)
	}
	if seen != "X-Other=1" {
		t.Errorf("a filter saw %s", seen)
	}
	x = k.get("/a/x", "X-Forwarded-For", "1.1.1.1")
	x.Client.Remote = netip.MustParseAddrPort("10.0.0.1:1")
	if k.sent(x); !strings.Contains(seen, "X-Forwarded-For=1.1.1.1") {
		t.Errorf("what a trusted proxy says is not seen: %s", seen)
	}
}

// Where firewall.allow lets an identity-aware proxy in front say who the user is,
// strangers still cannot; what a filter found out goes to the service.
func TestAStrangerSaysNotWhoTheUserIs(t *testing.T) {
	k := newKit(t).start()
	if got := k.sent(k.get("/a/x", "X-Forwarded-User", "eve", "x_forwarded.email", "eve@example.com")); strings.Contains(got, "eve") {
		t.Errorf("from a stranger: %s", got)
	}
	x := k.get("/a/x", "X-Forwarded-User", "ada")
	x.Client.Remote = netip.MustParseAddrPort("10.0.0.1:1")
	if got := k.sent(x); !strings.Contains(got, "X-Forwarded-User=ada|") {
		t.Errorf("from a trusted proxy: %s", got)
	}
	k.a.do["req"] = func(x *exchange.Exchange) { x.Request.Header.Add("X-Forwarded-User", "ada") }
	if got := k.sent(k.get("/a/x", "X-Forwarded-User", "eve")); !strings.Contains(got, "X-Forwarded-User=ada|") || strings.Contains(got, "eve") {
		t.Errorf("from a filter: %s", got)
	}
}
