package firewall

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newFilter(t testing.TB, c Config) *Filter {
	t.Helper()
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDisguisesOfReservedNamesAreRemoved(t *testing.T) {
	f := newFilter(t, Config{Reserved: []string{"X-Tenant", "Acme-*"}})
	for _, name := range []string{
		"X-User-Id", "x-user-id", "X_USER_ID", "x.user.id", "X_User-Id", "X~User|Id", "X-User", "x_user", "X--User--Id",
		"-X-User-Id", "X-User-Id-", "X-User-", "X-User-Roles", "X-User-Id\x00", "X-User Id", "X-User-Id ", "X-U\u017fer-Id",
		"Txn-Token", "TXN_TOKEN", "txn.token", "Hop'Token", "Hop_Token" + strings.Repeat("-", 500),
		"X-Lintel-Anything", "X-Consumer-Username", "X_Forwarded_Client_Cert", "X-Client-Cert", "X-Client-Cert-Dn",
		"X-SSL-Client-Verify", "Remote_User", "X.Remote.User", "X-Original-URL", "x_rewrite_url", "Client-Cert",
		"X-Jwt-Payload", "X-Authenticated-Userid", "X-Envoy-Internal", "X-User-" + strings.Repeat("a", 500),
		"x_user_agent", "X-Tenant", "x_tenant", "Acme", "acme_role", "", "--", "Bad Name", "Bad:Name",
	} {
		x := &exchange.Exchange{}
		x.Request.Header.Add("Accept", "*/*")
		x.Request.Header.Add(name, "1")
		x.Request.Header.Add(name, "2")
		if v := f.OnRequest(x); v != filter.Next {
			t.Errorf("%q: verdict %v", name, v)
		}
		if x.Request.Header.Len() != 1 || x.Removed != 2 {
			t.Errorf("%q: %d lines left, %d counted; want 1 and 2", name, x.Request.Header.Len(), x.Removed)
		}
	}
}

func TestOrdinaryNamesPass(t *testing.T) {
	f := newFilter(t, Config{})
	for _, name := range []string{
		"Accept", "Authorization", "Cookie", "X-Request-Id", "X-Forwarded-For", "X-Api-Key", "X-Auth-Token", "X-Access-Token",
		"X-User-Agent", "User-Agent", "X-Users", "XUser-Id", "X-Userland", "Txn", "Txn-Token-Hint", "My-Txn-Token", "Token",
		"Proxy-Authorization", "X-Http-Method-Override", "Remote", "Traceparent", "Content-Type", "X-Client-Id",
	} {
		x := &exchange.Exchange{}
		x.Request.Header.Add(name, "1")
		f.OnRequest(x)
		if !x.Request.Header.Has(name) || x.Removed != 0 {
			t.Errorf("%q was removed", name)
		}
	}
}

func TestAllowedNamePassesOnlyUndisguised(t *testing.T) {
	f := newFilter(t, Config{Allow: []string{"X-User-Locale", "X-Envoy-*", TxnToken}})
	for name, passes := range map[string]bool{
		"X-User-Locale": true, "x-user-locale": true, "X_User_Locale": false, "X-User-Id": false,
		"X-Envoy-Retry-On": true, "X_Envoy_Retry_On": false, "Txn-Token": true, "Hop-Token": false,
	} {
		if f.Reserved().Match(name) == passes {
			t.Errorf("%s: passes %v, want %v", name, !passes, passes)
		}
	}
}

// trailing fills the trailers when it ends, as engines do.
type trailing struct {
	io.Reader
	at    *exchange.Fields
	names []string
	end   error
}

func (b *trailing) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		for _, name := range b.names {
			b.at.Add(name, "mallory")
		}
		if b.end != nil {
			err = b.end
		}
	}
	return n, err
}
func (b *trailing) Close() error { return nil }

func TestTrailersAreCleanedWhenTheBodyEnds(t *testing.T) {
	f := newFilter(t, Config{})
	for _, c := range []struct {
		proto  string
		length int64
	}{{"HTTP/1.1", -1}, {"HTTP/2.0", -1}, {"HTTP/2.0", 5}} {
		x := &exchange.Exchange{}
		x.Request.Proto, x.Request.Length = c.proto, c.length
		x.Request.Body = &trailing{Reader: strings.NewReader("hello"), at: &x.Request.Trailer, names: []string{"Checksum", "x_user_id", "Txn-Token"}}
		f.OnRequest(x)
		if got, err := io.ReadAll(x.Request.Body); err != nil || string(got) != "hello" {
			t.Fatal(string(got), err)
		}
		if x.Request.Trailer.Len() != 1 || !x.Request.Trailer.Has("Checksum") || x.Removed != 2 {
			t.Errorf("%v: %d trailers, %d removed", c, x.Request.Trailer.Len(), x.Removed)
		}
	}
}

func TestAnswersLoseTokenHeaders(t *testing.T) {
	f := newFilter(t, Config{ResponseStrip: []string{"X-Debug-*"}})
	x := &exchange.Exchange{}
	for _, n := range []string{"Content-Type", "Txn-Token", "hop_token", "X-Debug-Sql", "X-User-Id"} {
		x.Response.Header.Add(n, "v")
	}
	x.Response.Length = 5
	x.Response.Body = &trailing{Reader: strings.NewReader("hello"), at: &x.Response.Trailer, names: []string{"Grpc-Status", "TXN-TOKEN"}, end: io.ErrUnexpectedEOF}
	f.OnResponse(x)
	if _, err := io.ReadAll(x.Response.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	var left []string
	for n := range x.Response.Header.All() {
		left = append(left, n)
	}
	if !slices.Equal(left, []string{"Content-Type", "X-User-Id"}) {
		t.Errorf("header left: %v", left)
	}
	if x.Response.Trailer.Len() != 1 || !x.Response.Trailer.Has("Grpc-Status") {
		t.Errorf("trailers left: %d", x.Response.Trailer.Len())
	}
	if x.Removed != 0 {
		t.Error("response lines must not count as the client's")
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		path string
	}{
		{Config{Reserved: []string{"X-Ok", "X Bad"}}, "reserved[1]"},
		{Config{Reserved: []string{"X*"}}, "reserved[0]"},
		{Config{Allow: []string{"txn_token"}}, "allow[0]"},
		{Config{Allow: []string{"Hop-*"}}, "allow[0]"},
		{Config{ResponseStrip: []string{"-"}}, "response_strip[0]"},
		{Config{Reserved: []string{strings.Repeat("a", 97)}}, "reserved[0]"},
	} {
		_, err := Kind().Build(&c.cfg, &filter.Env{})
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path {
			t.Errorf("%+v: got %v, want a complaint about %s", c.cfg, err, c.path)
		}
	}
	if _, err := Kind().Build(new(Config), &filter.Env{}); err != nil {
		t.Error(err)
	}
}

func TestNamesAreReadable(t *testing.T) {
	f := newFilter(t, Config{Reserved: []string{"X-Tenant"}})
	if n := f.Names(); !slices.Contains(n, "X-Tenant") || !slices.Contains(n, "X-User-*") || !slices.IsSorted(n) {
		t.Errorf("Names() = %v", n)
	}
	if e := f.Explain(); strings.Contains(e, "\n") || !strings.Contains(e, "X-Tenant") || !strings.Contains(e, "X-User-Agent") {
		t.Errorf("Explain() = %q", e)
	}
	for _, n := range DefaultNames() {
		if !Default().Match(strings.TrimSuffix(n, "-*")) {
			t.Errorf("%s is listed but does not match", n)
		}
	}
}

func TestTokensAreTakenOffInterimAnswers(t *testing.T) {
	f := newFilter(t, Config{})
	var got exchange.Fields
	x := &exchange.Exchange{Informational: func(_ int, h *exchange.Fields) { got = h.Clone() }}
	f.OnRequest(x)
	var h exchange.Fields
	h.Add("Link", "</a>; rel=preload")
	h.Add("txn_token", "secret")
	h.Add("Hop-Token", "secret")
	x.Inform(103, &h)
	if got.Len() != 1 || !got.Has("Link") {
		t.Errorf("%v came through, want Link alone", got)
	}
}
