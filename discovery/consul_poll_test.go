package discovery

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// fakeConsul answers the health endpoint as the test says; its other
// endpoints are those of a healthy agent without ACLs.
func fakeConsul(t *testing.T, health http.HandlerFunc) *Consul {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/health/service/", health)
	mux.HandleFunc("/v1/status/leader", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `"127.0.0.1:8300"`) })
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	c, err := NewConsul(ConsulConfig{Address: srv.URL, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func reply(w http.ResponseWriter, index int, body string) {
	w.Header().Set("X-Consul-Index", strconv.Itoa(index))
	w.Header().Set("X-Consul-LastContact", "0")
	w.Header().Set("X-Consul-KnownLeader", "true")
	fmt.Fprint(w, body)
}

func instanceAt(port int) string {
	return fmt.Sprintf(`[{"Node":{"Node":"n","Address":"10.0.0.1"},"Service":{"ID":"a","Service":"a","Port":%d}}]`, port)
}

func TestNextIndexFollowsConsulsRules(t *testing.T) {
	for _, test := range []struct{ last, got, want uint64 }{
		{0, 7, 7}, {7, 7, 7}, {7, 9, 9}, {9, 7, 0}, {0, 0, 1}, {9, 0, 0}, {1, 0, 0},
	} {
		if next := nextIndex(test.last, test.got); next != test.want {
			t.Errorf("after %d, %d: %d, want %d", test.last, test.got, next, test.want)
		}
	}
}

func TestIndexGoingBackwardsStartsOver(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	c := fakeConsul(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Query().Get("index"))
		n := len(asked)
		mu.Unlock()
		switch n {
		case 1:
			reply(w, 100, instanceAt(1))
		case 2:
			reply(w, 5, instanceAt(2)) // restored from a snapshot
		case 3:
			reply(w, 5, instanceAt(3))
		default:
			<-r.Context().Done()
		}
	})
	_, got := subscribe(t, newTestHub(t, HubConfig{}), c, Query{Service: "a"})
	eventually(t, patience, "the answer after the reset", got.fresh("10.0.0.1:3"))
	eventually(t, patience, "four queries", func() bool { mu.Lock(); defer mu.Unlock(); return len(asked) >= 4 })
	mu.Lock()
	defer mu.Unlock()
	if first := asked[:4]; fmt.Sprint(first) != "[ 100  5]" { // an index of 0 is not sent
		t.Fatalf("asked beyond %q", first)
	}
}

func TestBadAnswersKeepLastKnown(t *testing.T) {
	for name, bad := range map[string]http.HandlerFunc{
		"status 500":     func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "No cluster leader", 500) },
		"truncated JSON": func(w http.ResponseWriter, _ *http.Request) { reply(w, 8, instanceAt(1)[:40]) },
		"null":           func(w http.ResponseWriter, _ *http.Request) { reply(w, 8, "null") },
		"no body":        func(w http.ResponseWriter, _ *http.Request) { reply(w, 8, "") },
		"another page":   func(w http.ResponseWriter, _ *http.Request) { reply(w, 8, "<html>login</html>") },
		"cut off":        func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			broken, asked := false, 0
			c := fakeConsul(t, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				asked++
				n, isBroken := asked, broken
				mu.Unlock()
				switch {
				case n == 1:
					reply(w, 7, instanceAt(1))
				case isBroken || n == 2:
					bad(w, r)
				default:
					reply(w, 9, instanceAt(2))
				}
			})
			mu.Lock()
			broken = true
			mu.Unlock()
			_, got := subscribe(t, newTestHub(t, HubConfig{}), c, Query{Service: "a"})
			eventually(t, patience, "last known, stale", got.stale("10.0.0.1:1"))
			mu.Lock()
			broken = false
			mu.Unlock()
			eventually(t, patience, "recovered", got.fresh("10.0.0.1:2"))
		})
	}
}

func TestHotIndexDoesNotSpin(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	c := fakeConsul(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		reply(w, asked, instanceAt(1))
	})
	began := time.Now()
	_, got := subscribe(t, newTestHub(t, HubConfig{}), c, Query{Service: "a"})
	eventually(t, patience, "more queries than a burst", func() bool { mu.Lock(); defer mu.Unlock(); return asked > queryBurst })
	time.Sleep(time.Second)
	mu.Lock()
	defer mu.Unlock()
	if most := queryBurst + int(queryRate*time.Since(began).Seconds()) + 2; asked > most || got.count() != 1 {
		t.Fatalf("asked %d times in %v, want at most %d; told %d times", asked, time.Since(began), most, got.count())
	}
}

func TestBackoffIsJitteredAndCapped(t *testing.T) {
	for failures := 1; failures < 100; failures++ {
		if d := backoff(failures); d < firstBackoff/2 || d > maxBackoff || failures > 10 && d < maxBackoff/2 {
			t.Fatalf("after %d failures: %v", failures, d)
		}
	}
}
