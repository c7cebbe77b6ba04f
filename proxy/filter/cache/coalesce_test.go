package cache

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// waiters counts who waits for a leader, by way of the exchange's Waiter.
func waiting(x *exchange.Exchange, n *atomic.Int64) *exchange.Exchange {
	x.Waiter = func(ctx context.Context, wait func(context.Context) error) error {
		n.Add(1)
		return wait(ctx)
	}
	return x
}

func TestConcurrentMissesAskOnce(t *testing.T) {
	for _, name := range []string{"", "u"} {
		r := newRig(t, Config{})
		var waits atomic.Int64
		var wg sync.WaitGroup
		var wrong atomic.Int64
		for range 100 {
			wg.Go(func() {
				x := waiting(request("GET /"), &waits)
				if name != "" {
					user(x, name)
				}
				body := r.do(x, func(x *exchange.Exchange) *exchange.Fault {
					eventually(t, "the others wait", func() bool { return waits.Load() == 99 })
					return says(200, "a", "Cache-Control: max-age=60")(x)
				})
				if body != "a" {
					wrong.Add(1)
				}
				if info := x.CacheInfo; info != "lintel; fwd=miss; stored" && info != "lintel; fwd=miss; collapsed; ttl=60" {
					wrong.Add(1)
				}
			})
		}
		wg.Wait()
		if n := r.calls.Load(); n != 1 || wrong.Load() != 0 {
			t.Fatalf("user %q: asked %d times for 100 concurrent misses, %d wrong answers", name, n, wrong.Load())
		}
	}
}

// lead starts one exchange that stays at the origin until released, and a
// follower that waits for it.
func lead(t *testing.T, r *rig, leader *exchange.Exchange, o origin, follower *exchange.Exchange) (release func(), got chan string) {
	t.Helper()
	arrived, leave, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		defer func() {
			if recover() != nil {
				r.Done(leader)
			}
		}()
		r.do(leader, func(x *exchange.Exchange) *exchange.Fault {
			close(arrived)
			<-leave
			return o(x)
		})
	}()
	<-arrived
	var waits atomic.Int64
	got = make(chan string, 1)
	go func() {
		got <- r.do(waiting(follower, &waits), says(200, "own", "Cache-Control: max-age=60"))
	}()
	eventually(t, "the follower waits", func() bool { return waits.Load() == 1 })
	return func() { close(leave); <-over }, got
}

func TestFollowersAreReleasedWhenTheLeaderHasNothingForThem(t *testing.T) {
	for name, c := range map[string]struct {
		leader, follower *exchange.Exchange
		origin           origin
	}{
		"failed":       {request("GET /"), request("GET /"), broken},
		"panicked":     {request("GET /"), request("GET /"), func(*exchange.Exchange) *exchange.Fault { panic("origin") }},
		"private":      {request("GET /"), request("GET /"), says(200, "leader", "Cache-Control: private")},
		"sets cookies": {request("GET /"), request("GET /"), says(200, "leader", "Cache-Control: max-age=9", "Set-Cookie: a=b")},
		"too large":    {request("GET /"), request("GET /"), says(200, string(make([]byte, 20000)), "Cache-Control: max-age=9")},
		"other variant": {request("GET /", "Accept: a"), request("GET /", "Accept: b"),
			says(200, "leader", "Cache-Control: max-age=9", "Vary: Accept")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{MaxObject: 16384, CoalesceTimeout: time.Hour})
			release, got := lead(t, r, c.leader, c.origin, c.follower)
			release()
			if body := <-got; body != "own" {
				t.Fatalf("the follower got %q", body)
			}
		})
	}
}

func TestOtherUsersDoNotWaitForEachOther(t *testing.T) {
	r := newRig(t, Config{CoalesceTimeout: time.Hour})
	x := user(request("GET /"), "a")
	r.do(x, func(*exchange.Exchange) *exchange.Fault {
		if got := r.do(user(request("GET /"), "b"), says(200, "b", "Cache-Control: max-age=60")); got != "b" {
			t.Errorf("b got %q", got)
		}
		return says(200, "a", "Cache-Control: max-age=60")(x)
	})
	if r.calls.Load() != 2 {
		t.Errorf("asked %d times, want 2", r.calls.Load())
	}
}

// The leader's client reads nothing: its body is never whole.
func TestASlowLeaderHoldsNobodyForLong(t *testing.T) {
	r := newRig(t, Config{CoalesceTimeout: 20 * time.Millisecond})
	slow := request("GET /")
	r.head(slow, says(200, "leader", "Cache-Control: max-age=60"))
	if got := r.do(request("GET /"), says(200, "own", "Cache-Control: max-age=60")); got != "own" {
		t.Fatalf("the follower got %q", got)
	}
	// whoever comes after is not held by the old leader at all
	if got := r.do(request("GET /"), nil); got != "own" {
		t.Fatalf("the next got %q", got)
	}
	b, _ := io.ReadAll(slow.Response.Body)
	_ = slow.Response.Body.Close()
	r.Done(slow)
	if string(b) != "leader" {
		t.Fatalf("the slow client got %q", b)
	}
}

func TestAFollowerThatGoesAwayStopsWaiting(t *testing.T) {
	r := newRig(t, Config{CoalesceTimeout: time.Hour})
	leader := request("GET /")
	r.OnRequest(leader)
	ctx, cancel := context.WithCancel(context.Background())
	x := request("GET /")
	x.Begin(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		r.OnRequest(x)
		r.Done(x)
	}()
	cancel()
	<-over
	r.Done(leader)
}

func TestConcurrentUseIsClean(t *testing.T) {
	r := newRig(t, Config{MaxBytes: 128 << 10, MaxObject: 8 << 10, StaleIfError: time.Second})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 400 {
				path := fmt.Sprintf("/%d", (i*7+g)%40)
				switch {
				case i%50 == 0:
					r.do(request("PUT "+path), says(204, ""))
					r.advance(300 * time.Millisecond)
				case i%17 == 0:
					r.do(request("GET "+path), broken)
				default:
					o := func(x *exchange.Exchange) *exchange.Fault {
						if x.Request.Header.Has("If-None-Match") {
							return says(304, "")(x)
						}
						return says(200, path+string(make([]byte, 2000)), "Cache-Control: max-age=1", `ETag: "a"`)(x)
					}
					if got := r.do(request("GET "+path), o); got[:len(path)] != path {
						t.Errorf("%s got %q", path, got[:len(path)])
					}
				}
				if n := r.responses.Bytes(); n > 128<<10 {
					t.Errorf("%d bytes held", n)
				}
			}
		})
	}
	wg.Wait()
}

// A slow client of the leader's holds others for store.Patience and not for the
// coalesce timeout; then one of them asks, and the rest wait for that one.
func TestASlowClientHoldsNobody(t *testing.T) {
	r := newRig(t, Config{CoalesceTimeout: time.Hour})
	slow := request("GET /")
	r.head(slow, says(200, "leader's own body", "Cache-Control: max-age=60"))
	_, _ = slow.Response.Body.Read(make([]byte, 4)) // and takes no more
	var wg sync.WaitGroup
	began := time.Now()
	for range 20 {
		wg.Go(func() {
			if got := r.do(request("GET /"), says(200, "second", "Cache-Control: max-age=60")); got != "second" {
				t.Errorf("got %q", got)
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("held for %v", took)
	}
	// On a busy machine any client may look slow for a moment.
	if n := r.calls.Load(); n < 2 || n > 10 {
		t.Errorf("asked %d times, want about 2", n)
	}
	b, _ := io.ReadAll(slow.Response.Body)
	_ = slow.Response.Body.Close()
	r.Done(slow)
	if string(b) != "er's own body" {
		t.Errorf("the slow client got %q", b)
	}
}

// When the first fails, one of those who waited asks, and not all at once.
func TestALostLeaderIsFollowedByOne(t *testing.T) {
	r := newRig(t, Config{CoalesceTimeout: time.Hour})
	leader := request("GET /")
	r.OnRequest(leader)
	var waits atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			x := waiting(request("GET /"), &waits)
			got := r.do(x, func(x *exchange.Exchange) *exchange.Fault {
				eventually(t, "the others wait again", func() bool { return waits.Load() == 20+19 })
				return says(200, "second", "Cache-Control: max-age=60")(x)
			})
			if got != "second" {
				t.Errorf("got %q", got)
			}
		})
	}
	eventually(t, "all wait", func() bool { return waits.Load() == 20 })
	r.Done(leader) // its client has left
	wg.Wait()
	if n := r.calls.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

// Nobody waits for what has just proved not to be shared.
func TestWhatIsNotSharedIsNotWaitedFor(t *testing.T) {
	for name, header := range map[string][]string{"private": {"Cache-Control: private"}, "nothing said": nil, "cookies": {"Cache-Control: max-age=60", "Set-Cookie: a=b"}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{CoalesceTimeout: time.Hour})
			r.do(request("GET /"), says(200, "mine", header...))
			arrived, leave := make(chan struct{}), make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				r.do(request("GET /"), func(x *exchange.Exchange) *exchange.Fault {
					close(arrived)
					<-leave
					return says(200, "mine", header...)(x)
				})
			})
			<-arrived
			x := request("GET /")
			x.Waiter = func(context.Context, func(context.Context) error) error { t.Error("it waits"); return nil }
			r.do(x, says(200, "mine", header...))
			close(leave)
			wg.Wait()
			// Once it is stored, others wait for its renewal again.
			r.do(request("GET /"), says(200, "ours", "Cache-Control: max-age=1"))
			if got := r.do(request("GET /"), nil); got != "ours" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// Users who may have the same stale answer wait for one to have it confirmed.
func TestOneAsksForAllWhetherASharedAnswerStillHolds(t *testing.T) {
	r := newRig(t, Config{CoalesceTimeout: time.Hour})
	public := "Cache-Control: public, max-age=60"
	r.do(request("GET /"), says(200, "ours", public, `ETag: "1"`))
	r.advance(time.Hour)
	var waits atomic.Int64
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			x := waiting(user(request("GET /"), fmt.Sprint("u", i)), &waits)
			got := r.do(x, func(x *exchange.Exchange) *exchange.Fault {
				eventually(t, "the others wait", func() bool { return waits.Load() == 19 })
				return says(304, "", public)(x)
			})
			if got != "ours" {
				t.Errorf("got %q", got)
			}
		})
	}
	wg.Wait()
	if n := r.calls.Load(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

// Whoever waits need not wait for the leader's client to take the last piece.
func TestAWholeBodyIsStoredBeforeItsClientHasTakenIt(t *testing.T) {
	for proto, stored := range map[string]bool{"HTTP/1.1": true, "HTTP/2.0": false} { // where trailers may still come
		r := newRig(t, Config{})
		x := request("GET /")
		r.head(x, func(x *exchange.Exchange) *exchange.Fault {
			_ = says(200, "hello", "Cache-Control: max-age=60")(x)
			x.Response.Proto = proto
			return nil
		})
		_, _ = io.ReadFull(x.Response.Body, make([]byte, 5))
		if got := r.responses.Len() == 1; got != stored {
			t.Errorf("%s: stored %v", proto, got)
		}
		_ = x.Response.Body.Close()
		r.Done(x)
		if r.responses.Len() != 1 {
			t.Errorf("%s: not stored in the end", proto)
		}
	}
}
