package jwt

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/proxy/store/redistest"
)

// denyFilter is a filter that follows the list at one or several addresses.
func denyFilter(t testing.TB, onError string, mode string, addrs ...string) *Filter {
	t.Helper()
	set := store.NewSet()
	lease := set.Lease()
	t.Cleanup(lease.Release)
	redis, err := store.NewRedis(store.RedisConfig{Name: "default", Mode: mode, Addresses: addrs, Timeout: 500 * time.Millisecond, Prefix: "lintel:"})
	if err != nil {
		t.Fatal(err)
	}
	redis.Start()
	t.Cleanup(func() { _ = redis.Close() })
	cfg := Config{Iss: []string{"any"}, Audiences: []string{audience}, Keys: []Key{{Secret: secret}},
		Deny: &Deny{Redis: "default", Every: 20 * time.Millisecond, OnStoreError: onError, MaxStale: time.Second}}
	f, err := Kind().Build(&cfg, &filter.Env{Store: lease, Log: slog.New(slog.DiscardHandler), Route: "test",
		Redis: func(string) (*store.Redis, error) { return redis, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter)
}

func (f *Filter) redisList() *RedisDenials { return f.denials[0].Denials.(*RedisDenials) }

// becomes waits until a token is judged so.
func becomes(t testing.TB, f *Filter, token, want string) {
	t.Helper()
	redistest.WaitFor(t, "the verdict "+strconv.Quote(want), func() error {
		if got := ask(f, token); got != want {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

func TestDenyListInRedisIsFollowed(t *testing.T) {
	for _, mode := range []string{"single", "cluster"} {
		t.Run(mode, func(t *testing.T) {
			var addrs []string
			if mode == "single" {
				addrs = []string{redistest.Start(t).Addr()}
			} else {
				for _, s := range redistest.Cluster(t, 3) {
					addrs = append(addrs, s.Addr())
				}
			}
			one, two := denyFilter(t, "closed", mode, addrs...), denyFilter(t, "closed", mode, addrs...)
			stolen, mine := hs(t, claims{"jti": "stolen"}), hs(t, claims{"jti": "mine"})
			other := hs(t, claims{"jti": "stolen", "iss": "https://other.test"})
			for _, f := range []*Filter{one, two} {
				becomes(t, f, stolen, "")
			}
			deny := func(issuer, jti string, until time.Time) {
				t.Helper()
				if err := one.redisList().Deny(t.Context(), issuer, jti, until); err != nil {
					t.Fatal(err)
				}
			}
			deny(issuer, "stolen", time.Now().Add(time.Hour))
			for _, f := range []*Filter{one, two} {
				becomes(t, f, stolen, "token-denied")
				if a, b := ask(f, mine), ask(f, other); a != "" || b != "" {
					t.Errorf("another token: %q, and the same jti of another issuer: %q", a, b)
				}
			}
			deny("", "stolen", time.Now().Add(time.Hour))
			becomes(t, two, other, "token-denied")
			deny(issuer, "stolen", time.Unix(1, 0))
			deny("", "stolen", time.Unix(1, 0))
			becomes(t, two, stolen, "")
			deny("", "mine", time.Time{})
			becomes(t, two, mine, "token-denied")
			for _, bad := range []string{"", strings.Repeat("x", maxJTI+1)} {
				if one.redisList().Deny(t.Context(), "", bad, time.Time{}) == nil {
					t.Errorf("a jti of %d bytes was taken", len(bad))
				}
			}
		})
	}
}

// A list longer than a page, and one by hand as the documentation has it.
func TestDenyListByHandAndInPages(t *testing.T) {
	s := redistest.Start(t)
	for i := range 2*denyPage + 10 {
		s.Do("XADD", "lintel:jwt-denied", "*", "jti", fmt.Sprint("t", i))
	}
	f := denyFilter(t, "closed", "single", s.Addr())
	becomes(t, f, hs(t, claims{"jti": fmt.Sprint("t", 2*denyPage+9)}), "token-denied")
	becomes(t, f, hs(t, claims{"jti": "t0"}), "token-denied")
	s.Do("XADD", "lintel:jwt-denied", "*", "jti", "brief", "until", strconv.FormatInt(time.Now().Add(2*time.Second).Unix(), 10))
	becomes(t, f, hs(t, claims{"jti": "brief"}), "token-denied")
	becomes(t, f, hs(t, claims{"jti": "brief"}), "")
	f.redisList().drop(time.Now().Add(time.Minute))
	f.redisList().mu.RLock()
	left := len(f.redisList().list)
	f.redisList().mu.RUnlock()
	if left != 2*denyPage+10 {
		t.Errorf("%d entries are kept, want those without an end", left)
	}
}

func TestRedisThatCannotSay(t *testing.T) {
	s := redistest.Start(t)
	s.Do("XADD", "lintel:jwt-denied", "*", "jti", "stolen")
	stolen, mine := hs(t, claims{"jti": "stolen"}), hs(t, claims{"jti": "mine"})
	s.Stop()
	closed, open := denyFilter(t, "closed", "single", s.Addr()), denyFilter(t, "open", "single", s.Addr())
	if a, b := ask(closed, mine), ask(open, mine); a != "denials-unknown" || b != "" {
		t.Errorf("absent at start: closed %q, open %q", a, b)
	}
	s.Restart()
	s.Do("XADD", "lintel:jwt-denied", "*", "jti", "stolen") // it kept nothing
	for _, f := range []*Filter{closed, open} {
		becomes(t, f, mine, "")
		becomes(t, f, stolen, "token-denied")
	}
	s.Freeze()
	becomes(t, closed, mine, "denials-unknown")
	if a, b, c := ask(closed, stolen), ask(open, stolen), ask(open, mine); a != "token-denied" || b != "token-denied" || c != "" {
		t.Errorf("frozen: stolen %q and %q, mine %q where it is open", a, b, c)
	}
	s.Thaw()
	becomes(t, closed, mine, "")
	// One that has lost its data lets nobody in again.
	s.Do("FLUSHALL")
	s.Do("XADD", "lintel:jwt-denied", "*", "jti", "late")
	becomes(t, closed, hs(t, claims{"jti": "late"}), "token-denied")
	if got := ask(closed, stolen); got != "token-denied" {
		t.Errorf("after Redis lost its data: %q", got)
	}
	// What cannot be read is as good as a list that cannot be read.
	s.Do("XADD", "lintel:jwt-denied", "*", "subject", "ada")
	becomes(t, closed, mine, "denials-unknown")
	s.Do("DEL", "lintel:jwt-denied")
	s.Do("XADD", "lintel:jwt-denied", "*", "jti", "x", "until", "tomorrow")
	becomes(t, closed, mine, "denials-unknown")
	s.Do("DEL", "lintel:jwt-denied")
	becomes(t, closed, mine, "")
	s.Do("SET", "lintel:jwt-denied", "a string")
	becomes(t, closed, mine, "denials-unknown")
}

// Junk in the list must not have what is listed behind it pass.
func TestWhatIsListedBehindJunkIsDenied(t *testing.T) {
	s := redistest.Start(t)
	for _, junk := range [][]string{{"subject", "ada"}, {"jti", ""}, {"jti", strings.Repeat("x", maxJTI+1)}, {"jti", "x", "until", "tomorrow"},
		{"jti", "x", "iss", strings.Repeat("i", maxIssuer+1)}} {
		s.Do(append([]string{"XADD", "lintel:jwt-denied", "*"}, junk...)...)
	}
	for i := range denyPage {
		s.Do("XADD", "lintel:jwt-denied", "*", "jti", fmt.Sprint("t", i))
	}
	s.Do("XADD", "lintel:jwt-denied", "*", "jti", "stolen")
	f := denyFilter(t, "open", "single", s.Addr())
	becomes(t, f, hs(t, claims{"jti": "stolen"}), "token-denied")
	if got := ask(f, hs(t, claims{"jti": "mine"})); got != "" {
		t.Errorf("another token: %q", got)
	}
}

func TestADenyListIsBoundedInBytes(t *testing.T) {
	d := &RedisDenials{list: map[denyKey]time.Time{}, bytes: maxDeniedBytes - 10}
	entry := func(jti string) []store.LogEntry {
		return []store.LogEntry{{ID: "1-1", Fields: map[string]string{"jti": jti, "until": "1"}}}
	}
	if err := d.take(entry("0123456789")); err != nil {
		t.Error(err)
	}
	if err := d.take(entry("0123456789")); err != nil {
		t.Errorf("once more: %v", err)
	}
	if err := d.take(entry("a")); err == nil {
		t.Error("more than its bytes are kept")
	}
	if d.drop(time.Now()); d.bytes != maxDeniedBytes-10 || len(d.list) != 0 {
		t.Errorf("%d bytes, %d entries after they ended", d.bytes, len(d.list))
	}
}

func TestDenyConfig(t *testing.T) {
	for _, c := range []struct {
		deny Deny
		says string
	}{
		{Deny{}, "file or redis"},
		{Deny{Redis: "default"}, "on_store_error"},
		{Deny{File: "/x", OnStoreError: "open"}, "no list in Redis"},
	} {
		if err := c.deny.check(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.deny, err)
		}
	}
}

func TestExplainAsksNoDenyList(t *testing.T) {
	f := denyFilter(t, "closed", "single", "127.0.0.1:1")
	x := request(hs(t, claims{"jti": "x"}))
	x.Shadow = true
	if fault := f.OnRequest(x).Fault(); fault != nil || x.Unasked == "" {
		t.Errorf("%v, not asked: %q", fault, x.Unasked)
	}
}

func BenchmarkDenied(b *testing.B) {
	d := &RedisDenials{list: map[denyKey]time.Time{}}
	for i := range 100_000 {
		d.list[denyKey{jti: fmt.Sprint(i)}] = time.Time{}
	}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if d.Denied(issuer, "nobody", now) {
			b.Fatal("denied")
		}
	}
}
