package credential

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func request(query string, lines ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Request.Query, x.Original.Query = query, query
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		x.Request.Header.Add(name, value)
	}
	return x
}

func lines(x *exchange.Exchange) []string {
	var out []string
	for n, v := range x.Request.Header.All() {
		out = append(out, n+": "+v)
	}
	return out
}

func TestACredentialIsFoundAndTakenOffFromExactlyThere(t *testing.T) {
	key := Place{Header: "X-API-Key", Query: "api_key", Cookie: "session"}
	for _, c := range []struct {
		name  string
		place Place
		x     *exchange.Exchange
		value string
		n     int
		query string
		left  []string
	}{
		{"nowhere", key, request("a=1", "Accept: x"), "", 0, "a=1", []string{"Accept: x"}},
		{"header", key, request("a=1", "Accept: x", "x-api-key: k"), "k", 1, "a=1", []string{"Accept: x"}},
		{"empty header", key, request("", "X-API-Key:  "), "", 0, "", []string{"X-API-Key:  "}},
		{"header twice", key, request("", "X-API-Key: k", "x-api-key: k"), "", 2, "", nil},
		{"query", key, request("a=1&api_key=k&b=%32"), "k", 1, "a=1&b=%32", nil},
		{"query alone", key, request("api_key=k"), "k", 1, "", nil},
		{"query, name escaped", key, request("a&%61pi%5fkey=k%2Bl&&b"), "k+l", 1, "a&&b", nil},
		{"query, other case", key, request("API_KEY=k"), "", 0, "API_KEY=k", nil},
		{"query, name as a part", key, request("my_api_key=k&api_key2=l"), "", 0, "my_api_key=k&api_key2=l", nil},
		{"query twice", key, request("api_key=k&x&api_key=l"), "", 2, "x", nil},
		{"query, one of two is empty", key, request("api_key=&api_key=l"), "l", 1, "", nil},
		{"query, broken escape", key, request("api_key=%zz"), "%zz", 1, "", nil},
		{"query, name with a broken escape", key, request("api_key%=k"), "", 0, "api_key%=k", nil},
		{"cookie", key, request("", "Cookie: a=1; session=k; b=2"), "k", 1, "", []string{"Cookie: a=1; b=2"}},
		{"cookie alone", key, request("", "Cookie: session=k"), "k", 1, "", nil},
		{"cookie, quoted", key, request("", `cookie: session="k"`), "k", 1, "", nil},
		{"cookie, over lines", key, request("", "Cookie: a=1", "Cookie: session=k", "Cookie: b=2;c=3"), "k", 1, "", []string{"Cookie: a=1; b=2; c=3"}},
		{"cookie, other case", key, request("", "Cookie: Session=k"), "", 0, "", []string{"Cookie: Session=k"}},
		{"cookie twice", key, request("", "Cookie: session=k; session=l"), "", 2, "", nil},
		{"cookie taken away", key, request("", "Cookie: session=; a=1"), "", 0, "", []string{"Cookie: a=1"}},
		{"header and query", key, request("api_key=l", "X-API-Key: k"), "", 2, "", nil},
		{"header and cookie", key, request("", "X-API-Key: k", "Cookie: session=k"), "", 2, "", nil},
		{"scheme", Place{Header: "Authorization", Prefix: "ApiKey"}, request("", "Authorization: apikey  k"), "k", 1, "", nil},
		{"scheme alone", Place{Header: "Authorization", Prefix: "ApiKey"}, request("", "Authorization: ApiKey"), "", 1, "", nil},
		{"another scheme", Place{Header: "Authorization", Prefix: "ApiKey"}, request("", "Authorization: Basic k"), "", 0, "", []string{"Authorization: Basic k"}},
		{"no scheme", Place{Header: "Authorization", Prefix: "ApiKey"}, request("", "Authorization: k"), "", 0, "", []string{"Authorization: k"}},
		{"bare", Place{Header: "X-Token", Prefix: "Bearer", Bare: true}, request("", "X-Token: k"), "k", 1, "", nil},
		{"bare, with it", Place{Header: "X-Token", Prefix: "Bearer", Bare: true}, request("", "X-Token: Bearer k"), "k", 1, "", nil},
		{"bare, another scheme", Place{Header: "X-Token", Prefix: "Bearer", Bare: true}, request("", "X-Token: Basic k"), "", 0, "", []string{"X-Token: Basic k"}},
		{"not in the query unless asked", Place{Header: "X-API-Key"}, request("X-API-Key=k&api_key=k"), "", 0, "X-API-Key=k&api_key=k", nil},
	} {
		value, n := c.place.Find(c.x)
		c.place.Remove(c.x)
		if value != c.value || n != c.n || c.x.Request.Query != c.query || !slices.Equal(lines(c.x), c.left) {
			t.Errorf("%s: %q %d, left ?%s %q; want %q %d, left ?%s %q", c.name, value, n, c.x.Request.Query, lines(c.x), c.value, c.n, c.query, c.left)
		}
		if c.x.Original.Query != c.query {
			t.Errorf("%s: logs would show ?%s", c.name, c.x.Original.Query)
		}
	}
}

func TestHidingLeavesTheRequestAsItIs(t *testing.T) {
	x := request("a=1&api_key=k")
	(&Place{Query: "api_key"}).Hide(x)
	if x.Request.Query != "a=1&api_key=k" || x.Original.Query != "a=1" {
		t.Errorf("request ?%s, logs ?%s", x.Request.Query, x.Original.Query)
	}
}

func TestWhatIsNoPlaceIsRefused(t *testing.T) {
	for _, c := range []struct {
		place Place
		path  string
	}{
		{Place{}, ""},
		{Place{Header: "Bad Name"}, "header"},
		{Place{Header: "X-*"}, "header"},
		{Place{Header: "Cookie"}, "header"},
		{Place{Header: "Txn-Token"}, "header"},
		{Place{Header: "X", Prefix: "two words"}, "prefix"},
		{Place{Query: "q", Prefix: "Bearer"}, "prefix"},
		{Place{Cookie: "a=b"}, "cookie"},
		{Place{Cookie: "a;b"}, "cookie"},
		{Place{Query: "a&b"}, "query"},
		{Place{Query: "a%20b"}, "query"},
	} {
		var ce *filter.ConfigError
		if err := c.place.Check(); !errors.As(err, &ce) || ce.Path != c.path {
			t.Errorf("%+v: %v, want an error at %q", c.place, err, c.path)
		}
	}
	for _, p := range []Place{{Header: "X-API-Key"}, {Header: "Authorization", Prefix: "ApiKey"}, {Cookie: "__Host-session"}, {Query: "access_token"}} {
		if err := p.Check(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestFindingAllocatesNothing(t *testing.T) {
	p := Place{Header: "X-API-Key", Query: "api_key", Cookie: "session"}
	for _, x := range []*exchange.Exchange{
		request("a=1&b=2", "Accept: x", "X-API-Key: k", "Cookie: a=1; b=2"),
		request("a=1&api_key=k", "Accept: x", "Cookie: a=1; b=2"),
		request("a=1&b=2", "Accept: x", "Cookie: a=1; session=k"),
	} {
		if n := testing.AllocsPerRun(100, func() { p.Find(x) }); n != 0 {
			t.Errorf("%q ?%s: %v allocations", lines(x), x.Request.Query, n)
		}
	}
}

// FuzzQuery: what is left is every other pair as it was, and nothing that a
// reader of forms would take for the credential.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"api_key=k", "a=1&api_key=k&b", "%61pi_key=k&api_key", "&&=&api_key&", "api_key=%zz&api%5Fkey=1", "a=api_key&api_key=a+b"} {
		f.Add(s)
	}
	p := Place{Query: "api_key"}
	f.Fuzz(func(t *testing.T, query string) {
		x := request(query)
		value, n := p.Find(x)
		p.Remove(x)
		left, err := url.ParseQuery(x.Request.Query)
		if err == nil && left.Has("api_key") {
			t.Fatalf("%q: %q is left", query, x.Request.Query)
		}
		if before, err := url.ParseQuery(query); err == nil {
			var want []string
			for _, v := range before["api_key"] {
				if v != "" {
					want = append(want, v)
				}
			}
			if len(want) != n || n == 1 && value != want[0] {
				t.Fatalf("%q: found %q and %d, a reader of forms finds %q", query, value, n, want)
			}
			delete(before, "api_key")
			if before.Encode() != left.Encode() {
				t.Fatalf("%q: left %q, want %q", query, left.Encode(), before.Encode())
			}
		}
		if _, n := p.Find(x); n != 0 {
			t.Fatalf("%q: still found in %q", query, x.Request.Query)
		}
	})
}

// FuzzCookie: the other cookies stay, in their order.
func FuzzCookie(f *testing.F) {
	for _, s := range []string{"session=k", "a=1; session=k; b=2", ";;session=;", `session="k`, "session", "=session;session =k", "a=session=k"} {
		f.Add(s)
	}
	p := Place{Cookie: "session"}
	f.Fuzz(func(t *testing.T, line string) {
		x := request("")
		x.Request.Header.Add("Cookie", line)
		_, n := p.Find(x)
		p.Remove(x)
		if _, again := p.Find(x); again != 0 {
			t.Fatalf("%q: still found in %q", line, lines(x))
		}
		if n == 0 && !hasCookie(&x.Request.Header, "session") && !strings.Contains(line, "session") && x.Request.Header.Get("Cookie") != line {
			t.Fatalf("%q was changed to %q", line, lines(x))
		}
		for pair := range strings.SplitSeq(line, ";") {
			pair = exchange.Trim(pair)
			key, _, _ := strings.Cut(pair, "=")
			if pair != "" && exchange.Trim(key) != "session" && !strings.Contains(x.Request.Header.Get("Cookie"), pair) {
				t.Fatalf("%q: %q is lost: %q", line, pair, lines(x))
			}
		}
	})
}
