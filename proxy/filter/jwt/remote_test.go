package jwt

import (
	"context"
	"crypto/ecdsa"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/store"
)

// keySetOf writes a key set of our EC keys: kid to algorithm, in order.
func keySetOf(t testing.TB, kids ...string) string {
	var keys []map[string]any
	for _, kid := range kids {
		keys = append(keys, toJWK(t, keyOf(kid).Public(), map[string]any{"kid": kid, "use": "sig"}))
	}
	return jwks(t, keys...)
}

func keyOf(kid string) *ecdsa.PrivateKey {
	if kid == "old" {
		return ring().ec["ES256"]
	}
	return ring().other
}

func es(t testing.TB, kid string) string { return sign(t, "ES256", keyOf(kid), kid, good(nil)) }

func from(i *fakeIssuer, f Fetching) Config {
	return Config{Keys: []Key{{JWKSURL: i.URL}}, JWKS: f}
}

func TestRotationIsFollowedAtOnce(t *testing.T) {
	i := newIssuer(t, keySetOf(t, "old"))
	f := newFilter(t, from(i, Fetching{Refresh: time.Hour, MinRefresh: time.Millisecond}))
	old, fresh := es(t, "old"), es(t, "new")
	if got := ask(f, old); got != "" {
		t.Fatal(got)
	}
	i.publish(keySetOf(t, "old", "new"))
	eventually(t, "the new key is accepted", func() bool { return ask(f, fresh) == "" })
	if got := ask(f, old); got != "" {
		t.Errorf("the old key, still published: %s", got)
	}
	i.publish(keySetOf(t, "new"))
	eventually(t, "a token by the withdrawn key is refused, remembered or not", func() bool {
		ask(f, es(t, "unknown")) // makes the set be fetched
		return ask(f, old) == "bad-token"
	})
	if got := ask(f, fresh); got != "" {
		t.Errorf("the new key: %s", got)
	}
}

func TestPeriodicRefreshFindsWithdrawnKeys(t *testing.T) {
	i := newIssuer(t, keySetOf(t, "old", "new"))
	f := newFilter(t, from(i, Fetching{Refresh: 10 * time.Millisecond, MinRefresh: time.Hour}))
	old := es(t, "old")
	if got := ask(f, old); got != "" {
		t.Fatal(got)
	}
	i.publish(keySetOf(t, "new"))
	eventually(t, "the withdrawn key's token is refused", func() bool { return ask(f, old) == "bad-token" })
}

func TestUnchangedSetKeepsRememberedTokens(t *testing.T) {
	i := newIssuer(t, keySetOf(t, "old"))
	f := newFilter(t, from(i, Fetching{Refresh: 5 * time.Millisecond}))
	token := es(t, "old")
	if got := ask(f, token); got != "" {
		t.Fatal(got)
	}
	before := f.cache.get(token, f.now())
	n := i.fetches.Load()
	eventually(t, "three more fetches", func() bool { return i.fetches.Load() > n+3 })
	if got := f.cache.get(token, f.now()); got == nil || got != before {
		t.Error("a fetch that changed nothing forgot the token")
	}
}

func TestFloodOfUnknownKeyIDsCostsTheIssuerNothing(t *testing.T) {
	i := newIssuer(t, keySetOf(t, "old"))
	f := newFilter(t, from(i, Fetching{Refresh: time.Hour, MinRefresh: time.Hour}))
	if got := ask(f, es(t, "old")); got != "" {
		t.Fatal(got)
	}
	token := es(t, "unknown")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if got := ask(f, token); got != "bad-token" {
					t.Errorf("got %q", got)
				}
			}
		})
	}
	wg.Wait()
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want the first alone", n)
	}
}

func TestConcurrentUnknownKeyIDsShareOneFetch(t *testing.T) {
	i := newIssuer(t, keySetOf(t, "old"))
	f := newFilter(t, from(i, Fetching{Refresh: time.Hour, MinRefresh: time.Hour}))
	if got := ask(f, es(t, "old")); got != "" {
		t.Fatal(got)
	}
	i.publish(keySetOf(t, "old", "new"))
	hold := make(chan struct{})
	i.hold.Store(&hold)
	r := f.trusts[0].sources[0].remote
	r.mu.Lock()
	r.last = time.Now().Add(-2 * time.Hour) // MinRefresh has passed
	r.mu.Unlock()
	token := es(t, "new")
	var wg sync.WaitGroup
	var waiting sync.WaitGroup
	for range 20 {
		waiting.Add(1)
		wg.Go(func() {
			x := request(token)
			x.Waiter = func(ctx context.Context, wait func(context.Context) error) error {
				waiting.Done()
				return wait(ctx)
			}
			if fault := f.OnRequest(x).Fault(); fault != nil {
				t.Errorf("refused: %v", fault)
			}
		})
	}
	waiting.Wait()
	close(hold)
	wg.Wait()
	if n := i.fetches.Load(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

func TestOutageKeepsTheLastGoodKeysUntilTheyAreStale(t *testing.T) {
	i := newIssuer(t, keySetOf(t, "old"))
	f := newFilter(t, from(i, Fetching{Refresh: 5 * time.Millisecond, MinRefresh: 5 * time.Millisecond, MaxStale: time.Hour}))
	if got := ask(f, es(t, "old")); got != "" {
		t.Fatal(got)
	}
	remembered := es(t, "old")
	ask(f, remembered)
	i.down.Store(true)
	n := i.fetches.Load()
	eventually(t, "failed fetches", func() bool { return i.fetches.Load() > n+3 })
	other := sign(t, "ES256", keyOf("old"), "old", good(claims{"sub": "bob"}))
	if got := ask(f, other); got != "" {
		t.Errorf("during the outage: %s", got)
	}
	for _, bad := range []string{"", "{}", `{"keys":[]}`, `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`, "<html>", "{" + strings.Repeat(" ", 1<<20)} {
		i.publish(bad)
		i.down.Store(false)
		n := i.fetches.Load()
		eventually(t, "another fetch", func() bool { return i.fetches.Load() > n+1 })
		if got := ask(f, other); got != "" {
			t.Errorf("after the answer %.20q: %s", bad, got)
		}
	}
	f.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	long := good(claims{"exp": time.Now().Add(24 * time.Hour).Unix()})
	if got := ask(f, sign(t, "ES256", keyOf("old"), "old", long)); got != "no-keys" {
		t.Errorf("past max_stale: %q, want no-keys", got)
	}
}

func TestNoKeysYetIs503AndHealsByItself(t *testing.T) {
	i := newIssuer(t, keySetOf(t, "old"))
	i.down.Store(true)
	f := newFilter(t, from(i, Fetching{Refresh: time.Hour, MinRefresh: 5 * time.Millisecond}))
	x := request(es(t, "old"))
	fault := f.OnRequest(x).Fault()
	if fault == nil || fault.Status != 503 || fault.Code != "no-keys" || fault.RetryAfter < time.Second || len(fault.Header) != 0 {
		t.Fatalf("got %+v", fault)
	}
	if got := ask(f, "garbage"); got != "bad-token" {
		t.Errorf("garbage needs no keys to be refused: %q", got)
	}
	if got := ask(f, sign(t, "ES256", keyOf("old"), "old", good(claims{"exp": 1}))); got != "token-expired" {
		t.Errorf("an expired token needs no keys to be refused: %q", got)
	}
	i.down.Store(false)
	eventually(t, "keys are had", func() bool { return ask(f, es(t, "old")) == "" })
}

func TestTheFirstRequestWaitsForTheFirstFetchButNotForever(t *testing.T) {
	i := newIssuer(t, keySetOf(t, "old"))
	hold := make(chan struct{})
	i.hold.Store(&hold)
	f := newFilter(t, from(i, Fetching{Timeout: 20 * time.Second}))
	answer := make(chan string, 1)
	awaiting := make(chan struct{})
	go func() {
		x := request(es(t, "old"))
		x.Waiter = func(ctx context.Context, wait func(context.Context) error) error {
			close(awaiting)
			return wait(ctx)
		}
		if fault := f.OnRequest(x).Fault(); fault != nil {
			answer <- fault.Code
			return
		}
		answer <- ""
	}()
	<-awaiting
	close(hold)
	if got := <-answer; got != "" {
		t.Errorf("got %q", got)
	}

	never := make(chan struct{})
	stuck := newIssuer(t, keySetOf(t, "old"))
	stuck.hold.Store(&never)
	defer close(never)
	f = newFilter(t, from(stuck, Fetching{Timeout: 50 * time.Millisecond}))
	if got := ask(f, es(t, "old")); got != "no-keys" {
		t.Errorf("a stuck issuer: %q", got)
	}
}

func TestAClientThatLeavesStopsWaiting(t *testing.T) {
	i := newIssuer(t, keySetOf(t, "old"))
	never := make(chan struct{})
	i.hold.Store(&never)
	defer close(never)
	f := newFilter(t, from(i, Fetching{Timeout: 20 * time.Second}))
	ctx, cancel := context.WithCancel(t.Context())
	x := request(es(t, "old"))
	x.Begin(ctx)
	x.Waiter = func(ctx context.Context, wait func(context.Context) error) error {
		cancel()
		return wait(ctx)
	}
	if fault := f.OnRequest(x).Fault(); fault == nil || fault.Code != "no-keys" {
		t.Errorf("got %v", fault)
	}
}

func TestReloadKeepsKeysAndRememberedTokens(t *testing.T) {
	i := newIssuer(t, keySetOf(t, "old"))
	stores := store.NewSet()
	cfg := from(i, Fetching{Refresh: time.Hour, MinRefresh: time.Hour})
	first := newFilterIn(t, stores, cfg)
	token := es(t, "old")
	if got := ask(first, token); got != "" {
		t.Fatal(got)
	}
	i.down.Store(true)
	second := newFilterIn(t, stores, cfg)
	if got := ask(second, token); got != "" {
		t.Errorf("after the reload: %s", got)
	}
	if first.cache != second.cache || i.fetches.Load() != 1 {
		t.Errorf("the reload began anew: %d fetches", i.fetches.Load())
	}
	cfg.Scopes = []string{"admin"}
	third := newFilterIn(t, stores, cfg)
	if third.cache == second.cache {
		t.Error("stricter rules must not find tokens that the laxer ones let in")
	}
	if got := ask(third, token); got != "insufficient-scope" || i.fetches.Load() != 1 {
		t.Errorf("%q after %d fetches", got, i.fetches.Load())
	}
}

func TestRedirectToPlainHTTPIsNotFollowed(t *testing.T) {
	target := newIssuer(t, keySetOf(t, "old"))
	hop := httptest.NewServer(http.RedirectHandler(strings.Replace(target.URL, "127.0.0.1", "0.0.0.0", 1), http.StatusFound))
	defer hop.Close()
	f := newFilter(t, Config{Keys: []Key{{JWKSURL: hop.URL}}, JWKS: Fetching{Refresh: time.Hour}})
	if got := ask(f, es(t, "old")); got != "no-keys" || target.fetches.Load() != 0 {
		t.Errorf("%q, target asked %d times", got, target.fetches.Load())
	}
}

func TestExplainRunsNeitherFetchNorRemember(t *testing.T) {
	i := newIssuer(t, keySetOf(t, "old"))
	f := newFilter(t, from(i, Fetching{Refresh: time.Hour, MinRefresh: time.Millisecond}))
	if got := ask(f, es(t, "old")); got != "" {
		t.Fatal(got)
	}
	n, kept := i.fetches.Load(), f.cache.len()
	for _, kid := range []string{"old", "unknown"} {
		x := request(sign(t, "ES256", keyOf("old"), kid, good(claims{"sub": "eve"})))
		x.Shadow = true
		x.Waiter = func(context.Context, func(context.Context) error) error {
			t.Error("a shadow exchange waited")
			return nil
		}
		f.OnRequest(x)
	}
	if i.fetches.Load() != n || f.cache.len() != kept {
		t.Error("a shadow exchange touched the stores")
	}
	if e := f.Explain(); strings.Contains(e, "\n") || !strings.Contains(e, i.URL) || !strings.Contains(e, "1 keys") {
		t.Error(e)
	}
}

func TestManyAtOnceUnderRotation(t *testing.T) {
	i := newIssuer(t, keySetOf(t, "old", "new"))
	f := newFilter(t, from(i, Fetching{Refresh: time.Millisecond, MinRefresh: time.Millisecond}))
	tokens := []string{es(t, "old"), es(t, "new")}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := range 200 {
				x := request(tokens[(n+w)%2])
				if fault := f.OnRequest(x).Fault(); fault != nil && fault.Code != "bad-token" {
					t.Errorf("refused: %v", fault)
				} else if fault == nil && x.Identity.Subject != "ada" {
					t.Error("another's identity")
				}
				if w == 0 && n%20 == 0 {
					i.publish(keySetOf(t, []string{"old", "new"}[n/20%2]))
				}
			}
		})
	}
	wg.Wait()
}

func TestKeySetOverTLSByAPrivateAuthority(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(keySetOf(t, "old")))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{ca: "", "": "no-keys"} {
		f := newFilter(t, Config{Keys: []Key{{JWKSURL: s.URL}}, JWKS: Fetching{CAFile: file}})
		if got := ask(f, es(t, "old")); got != want {
			t.Errorf("ca_file %q: %q, want %q", file, got, want)
		}
	}
}
