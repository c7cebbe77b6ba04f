package maintenance

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

const secret = "0123456789abcdef"

func newFilter(t testing.TB, c Config) *Filter {
	t.Helper()
	f, err := Kind().Build(&c, &filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter)
}

func from(ip string, lines ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	if ip != "" {
		x.ClientIP = netip.MustParseAddr(ip)
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		x.Request.Header.Add(name, value)
	}
	return x
}

func TestWhoGetsThrough(t *testing.T) {
	off := false
	closed := Config{RetryAfter: time.Minute, Addresses: []string{"10.0.0.0/8"}, Header: Header{"X-Key", secret}}
	open := closed
	open.Enabled = &off
	for _, c := range []struct {
		name string
		cfg  Config
		x    *exchange.Exchange
		in   bool
	}{
		{"anybody", closed, from("192.0.2.1"), false},
		{"no address", closed, from(""), false},
		{"an address", closed, from("::ffff:10.1.1.1"), true},
		{"the secret", closed, from("192.0.2.1", "x-key: "+secret), true},
		{"another secret", closed, from("192.0.2.1", "X-Key: 0123456789abcdeF"), false},
		{"a part of it", closed, from("192.0.2.1", "X-Key: 0123456789abcde"), false},
		{"two of them", closed, from("192.0.2.1", "X-Key: "+secret, "X-Key: x"), false},
		{"an empty one without a secret", Config{}, from("192.0.2.1", "X-Key: "), false},
		{"anybody while it is open", open, from("192.0.2.1", "X-Key: "+secret), true},
	} {
		fault := newFilter(t, c.cfg).OnRequest(c.x).Fault()
		if (fault == nil) != c.in {
			t.Errorf("%s: %v", c.name, fault)
		}
		if fault != nil && (fault.Status != 503 || fault.RetryAfter <= 0 || fault.Code != "maintenance") {
			t.Errorf("%s: %+v", c.name, fault)
		}
		if c.cfg.Header.Name != "" && c.x.Request.Header.Has("X-Key") {
			t.Errorf("%s: the secret reaches the service", c.name)
		}
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{Config{Addresses: []string{"10.0.0.0/8", "x"}}, "addresses[1]", "want an address"},
		{Config{Header: Header{Name: "X-Key"}}, "header", "both"},
		{Config{Header: Header{Name: "X-Key", Value: "short"}}, "header.value", "16"},
		{Config{Header: Header{Name: "X Key", Value: secret}}, "header.name", "no header name"},
	} {
		_, err := Kind().Build(&c.cfg, &filter.Env{})
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) || strings.Contains(ce.Msg, "short") {
			t.Errorf("%+v: got %v, want %s: …%s…", c.cfg, err, c.path, c.msg)
		}
	}
}

func TestExplainIsOneLineWithoutTheSecret(t *testing.T) {
	f := newFilter(t, Config{Addresses: []string{"10.0.0.0/8"}, Header: Header{"X-Key", secret}})
	if got := f.Explain(); got != "closed, retry after 5m0s, but for 10.0.0.0/8, but for the right X-Key" {
		t.Error(got)
	}
}

func BenchmarkOpen(b *testing.B) {
	off := false
	f := newFilter(b, Config{Enabled: &off, Header: Header{"X-Key", secret}})
	x := from("192.0.2.1", "Accept: */*")
	b.ReportAllocs()
	for b.Loop() {
		f.OnRequest(x)
	}
}
