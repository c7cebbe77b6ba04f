package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// enough is an output that has heard what it wanted after n lines.
type enough struct {
	mu    sync.Mutex
	lines strings.Builder
	n     int
}

var errEnough = errors.New("enough")

func (e *enough) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines.Write(p)
	if e.n--; e.n <= 0 {
		return 0, errEnough
	}
	return len(p), nil
}

// greedy serves both kinds and counts: requests, and how many of them were in
// hand before the first was answered.
func greedy(t *testing.T) (addr string, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		size := smallAnswer
		if r.URL.Path == "/bulk/1g" {
			size = 3 * gulp
		}
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = w.Write(answer(size))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), asked
}

func TestGreedyClientsGoOnAndSayWhatTheyGot(t *testing.T) {
	for _, kind := range []string{"download", "flood"} {
		addr, asked := greedy(t)
		out := &enough{n: 4}
		if err := beGreedy(kind, addr, out); !errors.Is(err, errEnough) {
			t.Fatalf("%s: %v", kind, err)
		}
		got, ok := lastTaken(out.lines.String())
		first, _ := lastTaken(strings.SplitAfter(out.lines.String(), "\n")[0])
		if !ok || got.amount <= first.amount || got.at <= first.at {
			t.Errorf("%s: at first %+v, then %+v, %v", kind, first, got, ok)
		}
		if asked.Load() < 3 {
			t.Errorf("%s asked %d times", kind, asked.Load())
		}
	}
}

// TestTheFloodKeepsRequestsInFlight: a service that answers nothing has got all of them.
func TestTheFloodKeepsRequestsInFlight(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	over := make(chan error, 1)
	go func() { over <- beGreedy("flood", l.Addr().String(), io.Discard) }()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	whole := strings.Repeat(string(greedBulk("flood", l.Addr().String())), flight/refill)
	b := make([]byte, len(whole))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != whole || strings.Count(whole, "GET ") != flight {
		t.Errorf("%d bytes of %d requests, %v", n, strings.Count(whole, "GET "), err)
	}
	_ = c.Close()
	if err := <-over; err == nil {
		t.Error("it does not say that its connection ended")
	}
}

func TestGreedyClientsSayWhatIsWrong(t *testing.T) {
	addr, _ := serve(t, 1) // 502 for everything
	for _, kind := range []string{"download", "flood", "other"} {
		if err := beGreedy(kind, addr, io.Discard); err == nil || kind == "other" != strings.Contains(err.Error(), "expected download or flood") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestTheLastWholeLineCounts(t *testing.T) {
	for text, want := range map[string]taken{"1 2\n": {1, 2}, "1 2\n30 40\n": {30, 40}, "1 2\n30 40\n5": {30, 40}, "1 2\n3 4": {1, 2}, "": {}, "1 ": {}, "x\n": {}} {
		if got, ok := lastTaken(text); got != want || ok != (want != taken{}) {
			t.Errorf("%q: %+v, %v", text, got, ok)
		}
	}
}

// TestBesideIsComparedWithAlone measures nothing but that it adds up.
func TestBesideIsComparedWithAlone(t *testing.T) {
	ms := time.Millisecond
	alone := &beside{p50: durations{1 * ms, 9 * ms, 2 * ms}, p99: durations{4 * ms, 90 * ms, 5 * ms}}
	flood := &beside{name: "flood", unit: "requests/s", p50: durations{3 * ms}, p99: durations{6 * ms}, got: []float64{10, 30, 20}}
	if s := alone.String(); s != "alone 2.000 and 5.000" {
		t.Error(s)
	}
	if s := flood.String(); s != "beside a flood of 20 requests/s 3.000 and 6.000" {
		t.Error(s)
	}
	var sum Load
	sum.compare([]*beside{alone, {name: "download", p50: durations{7 * ms}, p99: durations{10 * ms}}, flood})
	if sum.Beside != 2 || sum.P50 != 7*ms || sum.P99 != 10*ms || !strings.Contains(sum.Note, "alone 2.000 and 5.000; beside a download") {
		t.Errorf("%+v", sum)
	}
}
