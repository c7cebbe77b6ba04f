package examples_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/config"
	"lintel.dev/lintel/ingress"
)

// shop answers what a test says, and counts.
type shop struct {
	*httptest.Server
	asked atomic.Int64
}

func newShop(t *testing.T, answer func(n int64, w http.ResponseWriter, r *http.Request)) *shop {
	t.Helper()
	s := &shop{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(s.asked.Add(1), w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *shop) addr() string { return s.Listener.Addr().String() }

// startCaching runs an example with its admin API, and says where that is.
func startCaching(t *testing.T, name string, env map[string]string, change ...func(*config.Snapshot)) (g *gateway, adminAddr string) {
	t.Helper()
	t.Setenv("LISTEN", "127.0.0.1:0")
	t.Setenv("ADMIN", "127.0.0.1:0")
	for k, v := range env {
		t.Setenv(k, v)
	}
	s, err := config.Load(example(name))
	if err != nil {
		t.Fatal(err)
	}
	s.Admin.Address = "127.0.0.1:0"
	for _, f := range change {
		f(s)
	}
	s.Shutdown.Drain = 5 * time.Second
	in, err := ingress.Start(t.Context(), ingress.Options{Snapshot: s, Version: "test", Out: io.Discard, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 200}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the gateway did not end cleanly: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the gateway did not end")
		}
	})
	return &gateway{t: t, base: "http://" + in.Addr("edge"), client: &http.Client{Transport: transport, Timeout: time.Minute}}, in.AdminAddr()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func TestCachingAsksOnceForAStampede(t *testing.T) {
	const clients = 100
	release := make(chan struct{})
	s := newShop(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
		<-release
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "one for all")
	})
	g, adminAddr := startCaching(t, "caching.yaml", map[string]string{"SHOP_ADDR": s.addr()})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			if a := g.get("/page", ""); a.StatusCode != 200 || a.body != "one for all" {
				t.Errorf("%d %q", a.StatusCode, a.body)
			}
		})
	}
	until(t, "all are in hand", func() bool {
		return strings.Contains(fetchText(t, "http://"+adminAddr+"/connections?compact"), fmt.Sprintf(`"exchanges":%d`, clients))
	})
	close(release)
	wg.Wait()
	if n := s.asked.Load(); n != 1 {
		t.Errorf("the service was asked %d times", n)
	}
}

func fetchText(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, _ := io.ReadAll(res.Body)
	return string(b)
}

func TestCachingGivesStalePagesWhileTheyAreRenewed(t *testing.T) {
	renewing := make(chan *http.Request, 1)
	release := make(chan struct{})
	s := newShop(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
		if n == 1 {
			w.Header().Set("Cache-Control", "max-age=1")
			_, _ = io.WriteString(w, "old")
			return
		}
		renewing <- r.Clone(context.Background())
		<-release
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "new")
	})
	g, adminAddr := startCaching(t, "caching.yaml", map[string]string{"SHOP_ADDR": s.addr()})
	g.get("/page", "", "X-Trace-Me: 1")
	var a answer
	until(t, "it is stale", func() bool {
		a = g.get("/page", "", "X-Trace-Me: 1")
		return strings.Contains(a.Header.Get("Cache-Status"), "stale-while-revalidate")
	})
	r := <-renewing
	if a.body != "old" || r.Header.Get("If-None-Match") != `"1"` || r.Header.Get("X-Trace-Me") != "1" || r.Header.Get("X-Forwarded-For") == "" {
		t.Errorf("given %q, renewed with %v", a.body, r.Header)
	}
	for range 10 { // the service hangs, nobody notices, and nobody else asks
		if a := g.get("/page", ""); a.body != "old" {
			t.Errorf("meanwhile: %d %q %s", a.StatusCode, a.body, a.Header.Get("Cache-Status"))
		}
	}
	close(release)
	until(t, "it is renewed", func() bool { return g.get("/page", "").body == "new" })
	if n := s.asked.Load(); n != 2 {
		t.Errorf("the service was asked %d times", n)
	}
	if text := fetchText(t, "http://"+adminAddr+"/metrics"); !strings.Contains(text, `lintel_store_entries{name="cache route:pages"} 1`) {
		t.Error("/metrics does not count the answer")
	}
	if text := fetchText(t, "http://"+adminAddr+"/cache?compact"); !strings.Contains(text, `"name":"route:pages"`) || !strings.Contains(text, `"renewed":1`) {
		t.Errorf("/cache: %s", text)
	}
}

func TestCachingGivesStalePagesWhenTheShopIsDown(t *testing.T) {
	s := newShop(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=1, stale-while-revalidate=0")
		if r.URL.Path == "/exact" {
			w.Header().Add("Cache-Control", "must-revalidate")
		}
		_, _ = io.WriteString(w, "as it was")
	})
	g, _ := startCaching(t, "caching.yaml", map[string]string{"SHOP_ADDR": s.addr()})
	g.get("/page", "")
	g.get("/exact", "")
	s.CloseClientConnections()
	s.Close()
	var a answer
	until(t, "it is stale", func() bool {
		a = g.get("/page", "")
		return strings.Contains(a.Header.Get("Cache-Status"), "detail=stale-if-error")
	})
	for i := range 10 { // the breaker opens meanwhile
		if a = g.get("/page", ""); a.StatusCode != 200 || a.body != "as it was" || !strings.HasPrefix(a.Header.Get("Cache-Status"), "lintel; fwd=stale") {
			t.Errorf("request %d: %d %q %s", i, a.StatusCode, a.body, a.Header.Get("Cache-Status"))
		}
	}
	if a := g.get("/exact", ""); a.StatusCode < 500 {
		t.Errorf("must-revalidate: %d %q", a.StatusCode, a.body)
	}
	if a := g.get("/other", ""); a.StatusCode != http.StatusServiceUnavailable && a.StatusCode != http.StatusBadGateway {
		t.Errorf("what was never stored: %d", a.StatusCode)
	}
}

func TestCachingIsNotHeldByASlowClient(t *testing.T) {
	page := strings.Repeat("0123456789abcdef", 120<<10) // 1.9 MiB: no socket takes it whole
	s := newShop(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, page)
	})
	g, _ := startCaching(t, "caching.yaml", map[string]string{"SHOP_ADDR": s.addr()})
	slow, err := net.Dial("tcp", strings.TrimPrefix(g.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Close() }()
	_ = slow.(*net.TCPConn).SetReadBuffer(4096)
	if _, err := io.WriteString(slow, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReaderSize(slow, 16).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q %v", line, err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if a := g.get("/large", ""); a.body != page {
				t.Errorf("%d, %d bytes", a.StatusCode, len(a.body))
			}
		})
	}
	wg.Wait()
	// Had the rest waited in vain, each would have asked in the end: 21. On a busy
	// machine any client may look slow for a moment.
	if n := s.asked.Load(); n < 2 || n > 10 {
		t.Errorf("the service was asked %d times, want about 2", n)
	}
	if a := g.get("/large", "", "Range: bytes=16-31"); a.StatusCode != http.StatusPartialContent || a.body != page[:16] ||
		a.Header.Get("Content-Range") != fmt.Sprintf("bytes 16-31/%d", len(page)) {
		t.Errorf("a range: %d %q %q", a.StatusCode, a.body, a.Header.Get("Content-Range"))
	}
}

func TestCachingPurgesByTag(t *testing.T) {
	s := newShop(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Surrogate-Key", "products "+strings.Trim(strings.ReplaceAll(r.URL.Path, "/", "-"), "-"))
		_, _ = fmt.Fprintf(w, "%s %d", r.URL.Path, n)
	})
	g, adminAddr := startCaching(t, "caching-purge.yaml", map[string]string{"CATALOGUE_ADDR": s.addr()})
	paths := []string{"/products/7", "/products/8", "/products/8?page=2"}
	texts := func() (out []string) {
		for _, p := range paths {
			a := g.get(p, "")
			if a.Header.Get("Surrogate-Key") != "" {
				t.Error("clients see the tags")
			}
			out = append(out, a.body)
		}
		return out
	}
	first := texts()
	for _, c := range []struct {
		purge admin.PurgeRequest
		gone  []int
	}{
		{admin.PurgeRequest{Tag: "products-7"}, []int{0}},
		{admin.PurgeRequest{URL: g.base + "/products/8"}, []int{1}},
		{admin.PurgeRequest{URL: "/products/./8?page=2"}, []int{2}},
		{admin.PurgeRequest{Prefix: g.base + "/products/8"}, []int{1, 2}},
		{admin.PurgeRequest{Tag: "products", Cache: "name:catalogue"}, []int{0, 1, 2}},
		{admin.PurgeRequest{Tag: "product"}, nil},
	} {
		got, err := admin.AskPurge(t.Context(), adminAddr, c.purge)
		if err != nil || got.Purged != len(c.gone) {
			t.Errorf("%+v: %+v %v, want %d", c.purge, got, err, len(c.gone))
		}
		second := texts()
		for i := range paths {
			gone := false
			for _, j := range c.gone {
				gone = gone || i == j
			}
			if (first[i] != second[i]) != gone {
				t.Errorf("%+v: %s was %q, is %q", c.purge, paths[i], first[i], second[i])
			}
		}
		first = second
	}
	if _, err := admin.AskPurge(t.Context(), adminAddr, admin.PurgeRequest{URL: "https://h/%2e%2e/%zz"}); err == nil {
		t.Error("a wrong URL was taken")
	}
}

// The other engine gives parts, confirmations and stale pages as well.
func TestCachingOverHTTP2(t *testing.T) {
	s := newShop(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=1")
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
		_, _ = io.WriteString(w, "0123456789")
	})
	g, _ := startCaching(t, "caching.yaml", map[string]string{"SHOP_ADDR": s.addr()}, func(s *config.Snapshot) { s.Listeners[0].H2C = true })
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	g.client = &http.Client{Transport: transport, Timeout: time.Minute}
	first := g.get("/page", "")
	if first.ProtoMajor != 2 || first.body != "0123456789" {
		t.Fatalf("%s %d %q", first.Proto, first.StatusCode, first.body)
	}
	for _, c := range []struct {
		line, body string
		status     int
	}{
		{"Range: bytes=3-5", "345", 206}, {"Range: bytes=20-", "", 416}, {"If-None-Match: " + first.Header.Get("Etag"), "", 304},
	} {
		// Within its second it is a hit, later it is given stale: both from the store.
		if a := g.get("/page", "", c.line); a.StatusCode != c.status || a.body != c.body || !strings.HasPrefix(a.Header.Get("Cache-Status"), "lintel; hit") {
			t.Errorf("%s: %d %q %s", c.line, a.StatusCode, a.body, a.Header.Get("Cache-Status"))
		}
	}
	until(t, "it is given stale", func() bool {
		return strings.Contains(g.get("/page", "").Header.Get("Cache-Status"), "stale-while-revalidate")
	})
	until(t, "it is renewed", func() bool { return g.get("/page", "").Header.Get("Etag") != first.Header.Get("Etag") })
}
