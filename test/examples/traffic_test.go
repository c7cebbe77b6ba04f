package examples_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// saying is a service that says its name.
func saying(t *testing.T, name string) string {
	return backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, name+" "+r.Header.Get("Cookie"))
	})
}

func TestCanaryTakesItsShareAndKeepsItsUsers(t *testing.T) {
	g := start(t, "canary.yaml", map[string]string{"ORDERS_ADDR": saying(t, "v1"), "ORDERS_V2_ADDR": saying(t, "v2")})
	for engine, h2 := range engines {
		got := map[string]int{}
		var cookie string
		for range 300 {
			a := g.exchange("GET", "/orders/1", "", h2...)
			side := strings.TrimSpace(a.body)
			got[side]++
			if side == "v2" {
				cookie, _, _ = strings.Cut(a.Header.Get("Set-Cookie"), ";")
			}
		}
		if got["v1"]+got["v2"] != 300 || got["v2"] < 8 || got["v2"] > 70 {
			t.Errorf("%s: 10%% of 300: %v", engine, got)
		}
		if cookie == "" || strings.Contains(cookie, "v2") {
			t.Fatalf("%s: cookie %q", engine, cookie)
		}
		for range 20 {
			a := g.exchange("GET", "/orders/1", "", append(h2, "Cookie: a=b; "+cookie)...)
			if a.body != "v2 a=b" || a.Header.Get("Set-Cookie") != "" {
				t.Fatalf("%s: who was on v2 got %q, set %q", engine, a.body, a.Header.Get("Set-Cookie"))
			}
			if a := g.exchange("GET", "/orders/1", "", append(h2, "X-Canary: 1")...); a.body != "v2 " || a.Header.Get("Set-Cookie") != "" {
				t.Fatalf("%s: a tester got %q, set %q", engine, a.body, a.Header.Get("Set-Cookie"))
			}
		}
		for account := range 20 {
			line := fmt.Sprintf("X-Account: %d", account)
			first := g.exchange("GET", "/accounts/1", "", append(h2, line)...).body
			for range 3 {
				if again := g.exchange("GET", "/accounts/1", "", append(h2, line)...).body; again != first {
					t.Errorf("%s: account %d moved from %s to %s", engine, account, first, again)
				}
			}
		}
	}
}

func TestSidesOfASplitDoNotShareCachedAnswers(t *testing.T) {
	g := start(t, "canary.yaml", map[string]string{"ORDERS_ADDR": saying(t, "v1"), "ORDERS_V2_ADDR": saying(t, "v2")})
	for range 3 {
		for side, lines := range map[string][]string{"v1": nil, "v2": {"X-Canary: 1"}} {
			if a := g.exchange("GET", "/catalog/1", "", lines...); strings.TrimSpace(a.body) != side {
				t.Errorf("want %s, got %s (%s)", side, a.body, a.Header.Get("Cache-Status"))
			}
		}
	}
	if a := g.exchange("GET", "/catalog/1", "", "X-Canary: 1"); !strings.Contains(a.Header.Get("Cache-Status"), "hit") {
		t.Errorf("the canary's answer is not cached: %s", a.Header.Get("Cache-Status"))
	}
}

func TestABadCanaryLosesItsShare(t *testing.T) {
	var asked atomic.Int64
	bad := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "broken", http.StatusInternalServerError)
	})
	g := start(t, "canary.yaml", map[string]string{"ORDERS_ADDR": saying(t, "v1"), "ORDERS_V2_ADDR": bad})
	failed := 0
	for n := 0; n < 4000; n++ {
		if g.get("/orders/1", "").StatusCode == 500 {
			failed++
		}
	}
	if failed < 90 || failed > 200 {
		t.Errorf("%d of 4000 hit the broken canary, want about min_requests (100)", failed)
	}
	before := asked.Load()
	for range 200 {
		if a := g.get("/orders/1", ""); a.StatusCode != 200 {
			t.Fatalf("the canary is still asked: %d", a.StatusCode)
		}
	}
	if asked.Load() != before {
		t.Error("the canary is still asked")
	}
	if a := g.get("/orders/1", "", "X-Canary: 1"); a.StatusCode != 500 {
		t.Errorf("a tester no longer reaches it: %d", a.StatusCode)
	}
}

func TestBlueGreenSwitches(t *testing.T) {
	env := map[string]string{"BLUE_ADDR": saying(t, "blue"), "GREEN_ADDR": saying(t, "green")}
	g := start(t, "blue-green.yaml", env)
	for range 20 {
		if a := g.get("/", ""); a.body != "blue " {
			t.Fatal(a.body)
		}
	}
	if a := g.get("/", "", "X-Preview: green"); a.body != "green " {
		t.Error(a.body)
	}
	env["BLUE"], env["GREEN"] = "0", "100"
	g = start(t, "blue-green.yaml", env)
	if a := g.get("/", ""); a.body != "green " {
		t.Error(a.body)
	}
}

// copies is a service that keeps what it was sent, and never answers in time.
type copies struct {
	mu   sync.Mutex
	got  []string
	more chan struct{}
}

func (c *copies) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	c.mu.Lock()
	c.got = append(c.got, fmt.Sprintf("%s %s %q mark=%s auth=%s cookie=%s %v", r.Method, r.URL.RequestURI(), body, r.Header.Get("X-Lintel-Mirror"),
		r.Header.Get("Authorization"), r.Header.Get("Cookie"), err))
	c.mu.Unlock()
	c.more <- struct{}{}
	select {
	case <-r.Context().Done():
	case <-time.After(10 * time.Second):
	}
}

func TestMirrorCopiesAndNobodyNotices(t *testing.T) {
	real := newHandler(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %q mark=%s auth=%s", r.URL.Path, body, r.Header.Get("X-Lintel-Mirror"), r.Header.Get("Authorization"))
	})
	shadow := &copies{more: make(chan struct{}, 1000)}
	g := start(t, "mirror.yaml", map[string]string{"SEARCH_ADDR": real.addr(), "NEXT_ADDR": newHandler(t, shadow.ServeHTTP).addr(), "SHARE": "1"})
	want := map[string]bool{}
	for engine, h2 := range engines {
		for _, c := range []struct{ method, body, copied string }{
			{"GET", "", `""`}, {"POST", `{"q":1}`, `"{\"q\":1}"`}, {"POST", `chunked:{"q":2}`, `"{\"q\":2}"`},
			{"PUT", "x", ""}, {"POST", strings.Repeat("x", 65<<10), ""}, {"POST", "chunked:" + strings.Repeat("x", 65<<10), ""},
		} {
			begun := time.Now()
			path := "/search/" + strings.ReplaceAll(engine, "/", "") + fmt.Sprint(len(want))
			a := g.exchange(c.method, path, c.body, append(h2, "Authorization: Bearer t", "Cookie: a=b", "X-Lintel-Mirror: forged")...)
			if a.StatusCode != 200 || !strings.HasPrefix(a.body, strings.TrimPrefix(path, "/search")+" ") || !strings.HasSuffix(a.body, "mark= auth=Bearer t") {
				t.Errorf("%s %s: %d %.80s", engine, c.method, a.StatusCode, a.body)
			}
			if d := time.Since(begun); d > 8*time.Second { // the copy would take 10 s
				t.Errorf("%s %s: took %v", engine, c.method, d)
			}
			if c.copied != "" {
				want[fmt.Sprintf("%s %s %s mark=1 auth= cookie= <nil>", c.method, strings.TrimPrefix(path, "/search"), c.copied)] = true
			}
		}
	}
	for range want {
		select {
		case <-shadow.more:
		case <-time.After(30 * time.Second):
			t.Fatalf("missing copies; there are %q, want %v", shadow.got, want)
		}
	}
	shadow.mu.Lock()
	defer shadow.mu.Unlock()
	for _, got := range shadow.got {
		if !want[got] {
			t.Errorf("an unexpected copy: %.200s", got)
		}
	}
}

func TestMirrorThatIsGoneChangesNothing(t *testing.T) {
	g := start(t, "mirror.yaml", map[string]string{"SEARCH_ADDR": saying(t, "real"), "NEXT_ADDR": "127.0.0.1:1", "SHARE": "1"})
	for range 500 {
		if a := g.get("/search/x", ""); a.StatusCode != 200 {
			t.Fatal(a.StatusCode)
		}
	}
}

func TestFaultsAreInjectedExactlyAndOwnedUpTo(t *testing.T) {
	api := newService(t)
	g := start(t, "fault-injection.yaml", map[string]string{"API_ADDR": api.addr(), "FAULT_KEY": "a key of sixteen bytes"})
	delayed, aborted := 0, 0
	for range 40 {
		begun := time.Now()
		a := g.get("/flaky/x", "")
		told := a.Header.Get("X-Lintel-Fault")
		if strings.Contains(told, "delay=200ms") {
			delayed++
			if d := time.Since(begun); d < 200*time.Millisecond {
				t.Errorf("it says it waited, and took %v", d)
			}
		}
		if strings.Contains(told, "abort=503") {
			aborted++
			var p struct{ Code string }
			if _ = json.Unmarshal([]byte(a.body), &p); a.StatusCode != 503 || p.Code != "fault-injected" {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		} else if a.StatusCode != 200 {
			t.Errorf("%d without a word", a.StatusCode)
		}
	}
	if delayed != 4 || aborted != 2 {
		t.Errorf("of 40 %d were delayed and %d aborted, want 4 and 2", delayed, aborted)
	}
	for engine, h2 := range engines {
		for _, c := range []struct {
			key    string
			status int
		}{{"a key of sixteen bytes", 418}, {"another key of 16", 200}, {"", 200}} {
			lines := append(h2, "X-Fault-Abort: 418", "X-Fault-Delay: 10ms")
			if c.key != "" {
				lines = append(lines, "X-Fault-Key: "+c.key)
			}
			a := g.exchange("GET", "/x", "", lines...)
			if a.StatusCode != c.status || (a.Header.Get("X-Lintel-Fault") != "") != (c.status == 418) {
				t.Errorf("%s: key %q: %d, %q", engine, c.key, a.StatusCode, a.Header.Get("X-Lintel-Fault"))
			}
			if c.status == 200 && len(api.last(t).Header["X-Fault-Abort"])+len(api.last(t).Header["X-Fault-Key"]) > 0 {
				t.Errorf("%s: the service sees them: %v", engine, api.last(t).Header)
			}
		}
	}
}
