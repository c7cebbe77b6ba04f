package tracing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unsafe"

	"lintel.dev/lintel/proxy/exchange"
)

func viewOf(b []byte) string { return unsafe.String(&b[0], len(b)) }

// logged runs one exchange through a log of its own.
func logged(t *testing.T, cfg LogConfig, x *exchange.Exchange) string {
	t.Helper()
	var out lockedBuffer
	cfg.Writer = &out
	a, err := NewAccessLog(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	a.Begin(x)
	a.Forward(x)
	a.End(x)
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func fullExchange(t *testing.T) *exchange.Exchange {
	x := failed(answered(request("User-Agent", "curl/8", "Authorization", "Bearer hush", "Cookie", "sid=hush", "Txn-Token", "hush"), 0), timedOut)
	newTestTracer(t, Config{}).Begin(x)
	x.Response.Header.Add("Set-Cookie", "sid=hush")
	x.Identity = &exchange.Identity{Subject: "ada@example", Issuer: "https://idp"}
	x.Txn = &exchange.Txn{ID: "txn-1", Token: "hush"}
	x.Peer.ID, x.Consumer, x.CacheInfo, x.Removed, x.Request.Read = "spiffe://td/web", "mobile", "lintel; hit", 2, 11
	x.ClientIP = netip.MustParseAddr("fe80::1%eth0")
	return x
}

func TestALineSaysWhatHappened(t *testing.T) {
	x := fullExchange(t)
	out := logged(t, LogConfig{}, x)
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for k, want := range map[string]any{
		"level": "INFO", "msg": "access", "method": "GET", "host": "shop.example:8443", "path": "/orders/17", "proto": "HTTP/1.1",
		"status": 504., "bytes_in": 11., "bytes_out": 254., "upstream": 0.002, "listener": "public", "route": "orders",
		"pattern": "/orders/{id}", "service": "orders", "endpoint": "10.0.0.7:8080", "attempts": 1., "fault": "upstream-timeout",
		"fault_source": "upstream", "error": "no answer\nin 2s", "request_id": x.ID, "txn": "txn-1", "client_ip": "fe80::1",
		"peer": "spiffe://td/web", "user": "ada@example", "consumer": "mobile", "user_agent": "curl/8", "cache": "lintel; hit", "removed": 2.,
	} {
		if got[k] != want {
			t.Errorf("%s is %v, want %v", k, got[k], want)
		}
	}
	if at, err := time.Parse(time.RFC3339, got["time"].(string)); err != nil || at.Sub(x.Start).Abs() > time.Second {
		t.Errorf("time %v: %v", got["time"], err)
	}
	if len(got["trace_id"].(string)) != 32 || len(got["span_id"].(string)) != 16 || got["duration"].(float64) <= 0 {
		t.Errorf("%s", out)
	}
	if strings.Contains(out, "hush") {
		t.Errorf("a secret is logged: %s", out)
	}
}

func TestTextLines(t *testing.T) {
	out := logged(t, LogConfig{Format: Text}, fullExchange(t))
	for _, want := range []string{" level=INFO msg=access method=GET host=shop.example:8443 path=/orders/17 ", " status=504 ", ` cache="lintel; hit"`, ` error="no answer\nin 2s" `} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if strings.Contains(out, "hush") || strings.Count(out, "\n") != 1 {
		t.Errorf("%q", out)
	}
}

func TestQueryIsLoggedOnlyWhenAsked(t *testing.T) {
	if out := logged(t, LogConfig{Query: true}, answered(request(), 200)); !strings.Contains(out, `"query":"token=hush"`) {
		t.Error(out)
	}
}

func TestHowTheUserAppears(t *testing.T) {
	key := []byte("0123456789abcdef")
	hash := func(cfg LogConfig) string {
		var got struct{ User string }
		if err := json.Unmarshal([]byte(logged(t, cfg, fullExchange(t))), &got); err != nil {
			t.Fatal(err)
		}
		return got.User
	}
	one, two, other := hash(LogConfig{User: UserHash, UserKey: key}), hash(LogConfig{User: UserHash, UserKey: key}), hash(LogConfig{User: UserHash})
	if len(one) != 32 || one != two || one == other {
		t.Errorf("hashes %q %q %q", one, two, other)
	}
	if got := hash(LogConfig{User: UserOmit}); got != "" {
		t.Errorf("omitted, yet %q", got)
	}
	if _, err := NewAccessLog(LogConfig{Writer: io.Discard, User: "name"}, quiet); err == nil {
		t.Error("an unknown way was taken")
	}
}

func TestNothingAClientSendsLeavesItsPlace(t *testing.T) {
	nasty := "a\r\n{\"level\":\"ERROR\"}\x1b[2J\x00\x7f\u0085\u009b\u2028\u202e\U000e0001\xff\"\\ é"
	for _, f := range []Format{JSON, Text} {
		x := answered(request("User-Agent", nasty), 200)
		x.Request.Target, x.Request.Authority = "/"+nasty, nasty
		out := logged(t, LogConfig{Format: f}, x)
		checkLine(t, out)
		if f == JSON {
			var got map[string]any
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			if want := strings.ToValidUTF8(nasty, "\uFFFD"); got["user_agent"] != want {
				t.Errorf("got %q, want %q", got["user_agent"], want)
			}
		}
	}
	x := answered(request("User-Agent", strings.Repeat("u", 9000)), 200)
	x.Request.Target = "/" + strings.Repeat("p", 60000)
	if out := logged(t, LogConfig{}, x); len(out) > 4096 {
		t.Errorf("a line of %d bytes", len(out))
	}
}

func checkLine(t *testing.T, out string) {
	t.Helper()
	body, ok := strings.CutSuffix(out, "\n")
	if !ok {
		t.Fatalf("no line: %q", out)
	}
	for _, r := range body {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			t.Fatalf("%U is in %q", r, out)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("plain")
	f.Add("\x00\x1f\"\\\u2028\xff\U0010ffff")
	f.Fuzz(func(t *testing.T, s string) {
		l := line{}
		l.quote(s)
		var got string
		if err := json.Unmarshal(l.buf, &got); err != nil || got != strings.ToValidUTF8(s, "\uFFFD") && !strings.Contains(got, "\uFFFD") {
			t.Fatalf("%q became %s: %v", s, l.buf, err)
		}
		checkLine(t, string(l.buf)+"\n")
	})
}

// gate is a writer that blocks until it is opened.
type gate struct {
	entered chan struct{}
	open    chan struct{}
	bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	select {
	case g.entered <- struct{}{}:
	default:
	}
	<-g.open
	return g.Buffer.Write(p)
}

func TestABlockedWriterStallsNoOne(t *testing.T) {
	g := &gate{entered: make(chan struct{}, 1), open: make(chan struct{})}
	a, err := NewAccessLog(LogConfig{Writer: g, Buffer: 8 << 10, Flush: time.Millisecond}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	a.End(answered(request(), 200))
	<-g.entered
	for range 1000 { // waiting for the writer would be for ever
		a.End(answered(request(), 200))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := a.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("closing on a blocked writer: %v", err)
	}
	close(g.open)
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.End(answered(request(), 200)) // after the end
	written, dropped := a.Stats()
	if written+dropped != 1002 || dropped < 900 || written < 2 {
		t.Errorf("written %d, dropped %d", written, dropped)
	}
	if n := strings.Count(g.String(), "\n"); n != int(written) {
		t.Errorf("%d lines, %d counted", n, written)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestAFailingWriterIsCountedAndSaid(t *testing.T) {
	var said lockedBuffer
	a, err := NewAccessLog(LogConfig{Writer: broken{}, Flush: time.Millisecond}, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		a.End(answered(request(), 200))
		eventually(t, "the line is counted", func() bool { _, d := a.Stats(); return d == uint64(i+1) })
	}
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(said.String(), "disk full"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestLinesComeOutWithoutClosing(t *testing.T) {
	var out lockedBuffer
	a, err := NewAccessLog(LogConfig{Writer: &out}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close(context.Background())
	for i := range 3 {
		a.End(answered(request(), 200))
		eventually(t, "a line is written", func() bool { return strings.Count(out.String(), "\n") == i+1 })
	}
}
