package apikey

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	current = "lk_current-000000000000000000000000000000"
	next    = "lk_next-000000000000000000000000000000000"
	foreign = "0123456789abcdef0123456789abcdef"
)

var expiry = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func newFilter(t testing.TB, c Config) *Filter {
	t.Helper()
	lease := store.NewSet().Lease()
	t.Cleanup(lease.Release)
	f, err := Kind().Build(&c, &filter.Env{Store: lease, Consumers: []filter.Consumer{
		{Name: "partner", Groups: []string{"gold"}, Metadata: map[string]string{"plan": "big"},
			Keys: []filter.ConsumerKey{{Hash: sha256.Sum256([]byte(current)), ID: "1", Expires: expiry}, {Hash: sha256.Sum256([]byte(next)), ID: "2"}}},
		{Name: "other", Keys: []filter.ConsumerKey{{Hash: sha256.Sum256([]byte(foreign))}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	out := f.(*Filter)
	out.now = func() time.Time { return expiry.Add(-time.Hour) }
	return out
}

func request(query string, lines ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Request.Query, x.Original.Query = query, query
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		x.Request.Header.Add(name, value)
	}
	return x
}

func ask(f *Filter, x *exchange.Exchange) string {
	if fault := f.OnRequest(x).Fault(); fault != nil {
		return fault.Code
	}
	return ""
}

func TestTheConsumerIsFoundByItsKey(t *testing.T) {
	for _, c := range []struct {
		name     string
		cfg      Config
		x        *exchange.Exchange
		want     string // code
		consumer string
	}{
		{"header", Config{}, request("", "X-API-Key: "+current), "", "partner"},
		{"its second key", Config{}, request("", "x-api-key: "+next), "", "partner"},
		{"another's", Config{}, request("", "X-API-Key: "+foreign), "", "other"},
		{"none", Config{}, request(""), "no-api-key", ""},
		{"in the query, which is off", Config{}, request("api_key=" + current), "no-api-key", ""},
		{"query", Config{Query: "api_key"}, request("api_key=" + current), "", "partner"},
		{"header off", Config{Header: "off", Query: "api_key"}, request("", "X-API-Key: "+current), "no-api-key", ""},
		{"both", Config{Query: "api_key"}, request("api_key="+current, "X-API-Key: "+current), "many-tokens", ""},
		{"twice", Config{}, request("", "X-API-Key: "+current, "X-API-Key: "+next), "many-tokens", ""},
		{"scheme", Config{Header: "Authorization", Prefix: "ApiKey"}, request("", "Authorization: ApiKey "+current), "", "partner"},
		{"another scheme", Config{Header: "Authorization", Prefix: "ApiKey"}, request("", "Authorization: Bearer "+current), "no-api-key", ""},
		{"unknown", Config{}, request("", "X-API-Key: "+current+"0"), "bad-api-key", ""},
		{"other case", Config{}, request("", "X-API-Key: "+strings.ToUpper(current)), "bad-api-key", ""},
		{"its hash", Config{}, request("", "X-API-Key: "+Hash(current)), "bad-api-key", ""},
		{"too long", Config{}, request("", "X-API-Key: "+current+strings.Repeat("0", 300)), "bad-api-key", ""},
		{"allowed by name", Config{Consumers: []string{"partner"}}, request("", "X-API-Key: "+current), "", "partner"},
		{"allowed by group", Config{Groups: []string{"gold"}}, request("", "X-API-Key: "+current), "", "partner"},
		{"not allowed", Config{Consumers: []string{"partner"}}, request("", "X-API-Key: "+foreign), "consumer-refused", "other"},
	} {
		if got := ask(newFilter(t, c.cfg), c.x); got != c.want || c.x.Consumer != c.consumer {
			t.Errorf("%s: %q of consumer %q, want %q of %q", c.name, got, c.x.Consumer, c.want, c.consumer)
		}
		if strings.Contains(c.x.Original.Query, "api_key=") && c.cfg.Query != "" {
			t.Errorf("%s: logs would show ?%s", c.name, c.x.Original.Query)
		}
	}
}

func TestAKeyEndsWhenItExpires(t *testing.T) {
	f := newFilter(t, Config{})
	for at, want := range map[time.Duration]string{-time.Second: "", 0: "api-key-expired", time.Hour: "api-key-expired"} {
		f.now = func() time.Time { return expiry.Add(at) }
		if got := ask(f, request("", "X-API-Key: "+current)); got != want {
			t.Errorf("%s: %q, want %q", at, got, want)
		}
		if got := ask(f, request("", "X-API-Key: "+next)); got != "" {
			t.Errorf("%s: the other key: %q", at, got)
		}
	}
}

func TestTheKeyIsNotForwardedAndTheServiceIsTold(t *testing.T) {
	headers := map[string]string{"X-Consumer-Name": "name", "X-Plan": "metadata.plan", "X-Key-Id": "credential"}
	f := newFilter(t, Config{Query: "api_key", Headers: headers})
	x := request("a=1", "X-API-Key: "+current, "X-Plan: spoofed", "x_key_id: spoofed")
	if got := ask(f, x); got != "" {
		t.Fatal(got)
	}
	var left []string
	for n, v := range x.Request.Header.All() {
		left = append(left, n+"="+v)
	}
	if got := strings.Join(left, " "); got != "X-Consumer-Name=partner X-Key-Id=1 X-Plan=big" {
		t.Error(got)
	}
	if id := x.Identity; id == nil || id.Subject != "partner" || id.Method != "apikey" || !id.Expires.Equal(expiry) || id.Roles[0] != "gold" {
		t.Errorf("%+v", x.Identity)
	}
	x = request("api_key="+current, "Accept: x")
	if ask(newFilter(t, Config{Query: "api_key", Forward: true}), x); x.Request.Query != "api_key="+current || x.Original.Query != "" {
		t.Errorf("forward: ?%s is sent, ?%s logged", x.Request.Query, x.Original.Query)
	}
}

func TestRefusalsCarryAChallengeAndNeverTheKey(t *testing.T) {
	f := newFilter(t, Config{Realm: "shop"})
	for _, key := range []string{"", "wrong-key-0000000000000000"} {
		x := request("")
		if key != "" {
			x.Request.Header.Add("X-API-Key", key)
		}
		fault := f.OnRequest(x).Fault()
		if fault == nil || fault.Status != 401 || len(fault.Header) != 1 || fault.Header[0].Name != "WWW-Authenticate" || fault.Header[0].Value != `ApiKey realm="shop"` {
			t.Fatalf("%+v", fault)
		}
		if key != "" && strings.Contains(fault.Error(), key) {
			t.Errorf("the key is in %q", fault.Error())
		}
	}
	if s := f.Explain(); strings.Contains(s, "lk_") || !strings.Contains(s, "header X-API-Key") {
		t.Error(s)
	}
}

func TestNewKeysAreKnownByTheirMarkAndSum(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		k := New()
		if err := Check(k); err != nil || seen[k] || len(k) != 41 || !strings.HasPrefix(k, "lk_") {
			t.Fatalf("%s: %v", k, err)
		}
		seen[k] = true
		for _, i := range []int{3, 20, 40} {
			b := []byte(k)
			if b[i] = 'a'; b[i] == k[i] {
				b[i] = 'b'
			}
			if Check(string(b)) == nil {
				t.Errorf("%s passes for %s", b, k)
			}
		}
		if Check(k[:40]) == nil || Check(k[1:]) != nil {
			t.Error("a shortened key passes, or a foreign one does not")
		}
	}
	for _, bad := range []string{"", "short", "with a space 0123456789abcdef", "é0123456789abcdef0123456789abcdef", strings.Repeat("x", 300), "lk_"} {
		if err := Check(bad); err == nil {
			t.Errorf("%q passes", bad)
		} else if len(bad) > 5 && strings.Contains(err.Error(), bad) {
			t.Errorf("the key is in %v", err)
		}
	}
	sum := sha256.Sum256([]byte("lk_x"))
	if Hash("lk_x") != "sha256:"+hex.EncodeToString(sum[:]) {
		t.Error(Hash("lk_x"))
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	for path, c := range map[string]Config{
		"header":       {Header: "Bad Name"},
		"prefix":       {Prefix: "two words"},
		"query":        {Query: "a&b"},
		"":             {Header: "off"},
		"realm":        {Realm: `a"b`},
		"consumers[0]": {Consumers: []string{"nobody"}},
		"groups[0]":    {Groups: []string{"none"}},
		"headers":      {Headers: map[string]string{"x_api_key": "name"}},
		"headers.X":    {Headers: map[string]string{"X": "key"}},
	} {
		_, err := Kind().Build(&c, &filter.Env{})
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != path {
			t.Errorf("%+v: %v, want an error at %q", c, err, path)
		}
	}
}

func TestAKnownKeyCostsNoAllocation(t *testing.T) {
	f := newFilter(t, Config{Headers: map[string]string{"X-Consumer-Name": "name"}})
	x := &exchange.Exchange{}
	run := func() {
		x.Request.Header.Reset()
		x.Request.Header.Add("Accept", "*/*")
		x.Request.Header.Add("X-API-Key", current)
		if f.OnRequest(x) != filter.Next {
			t.Fatal("refused")
		}
	}
	run()
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkKnownKey(b *testing.B) {
	f := newFilter(b, Config{Headers: map[string]string{"X-Consumer-Name": "name"}})
	x := &exchange.Exchange{}
	b.ReportAllocs()
	for b.Loop() {
		x.Request.Header.Reset()
		x.Request.Header.Add("X-API-Key", current)
		f.OnRequest(x)
	}
}
