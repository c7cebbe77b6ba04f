package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestWrkOutputIsUnderstood(t *testing.T) {
	const clean = `Running 2s test @ http://127.0.0.1:18080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.23ms  640.05us  20.10ms   93.31%
    Req/Sec    25.91k     2.17k   30.14k    75.00%
  Latency Distribution
     50%    1.15ms
     75%    1.30ms
     90%  990.00us
     99%    1.20s 
  51824 requests in 2.00s, 19.43MB read
Requests/sec:  25912.00
Transfer/sec:      9.72MB
`
	l, err := parseWrk(clean)
	if err != nil {
		t.Fatal(err)
	}
	want := Load{Requests: 51824, Elapsed: 2 * time.Second, P50: 1150 * time.Microsecond, P99: 1200 * time.Millisecond}
	if l != want {
		t.Errorf("got %+v, want %+v", l, want)
	}
	failed := strings.Replace(clean, "Requests/sec", "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 50000\nRequests/sec", 1)
	if l, err = parseWrk(failed); err != nil || l.Failed != 54321 || !strings.Contains(l.Why, "timeout 4000") || !strings.Contains(l.Why, "50000 answers") {
		t.Errorf("got %+v, %v; want 54321 failures and their kinds", l, err)
	}
	for _, bad := range []string{"", "unable to connect to 127.0.0.1:1 Connection refused\n", strings.Replace(clean, "51824 requests", "0 requests", 1)} {
		if l, err := parseWrk(bad); err == nil {
			t.Errorf("%q gives %+v, want an error", bad, l)
		}
	}
}

func TestH2loadOutputIsUnderstood(t *testing.T) {
	const clean = `TLS Protocol: TLSv1.3
Application protocol: h2
Main benchmark duration is over for thread #0. Stopping all clients.

finished in 2.05s, 8000.00 req/s, 555.20KB/s
requests: 16402 total, 16464 started, 16402 done, 16400 succeeded, 2 failed, 1 errored, 0 timeout
status codes: 16400 2xx, 0 3xx, 0 4xx, 1 5xx
time for request:       23us    135.72ms       892us      6.81ms    99.15%
`
	l, err := parseH2load(clean)
	if err != nil || l.Requests != 16400 || l.Failed != 2 || l.Elapsed != 2050*time.Millisecond || !strings.Contains(l.Why, "2 failed") {
		t.Errorf("got %+v, %v", l, err)
	}
	for _, bad := range []string{"", strings.Replace(clean, "protocol: h2", "protocol: http/1.1", 1), strings.Replace(clean, "16400 succeeded", "0 succeeded", 1)} {
		if l, err := parseH2load(bad); err == nil {
			t.Errorf("%q gives %+v, want an error", bad, l)
		}
	}
	p50, p99, err := parseH2loadLog(strings.NewReader("1\t200\t300\n2\t200\t100\n3\t200\t200\n"))
	if err != nil || p50 != 200*time.Microsecond || p99 != 300*time.Microsecond {
		t.Errorf("log: %v, %v, %v", p50, p99, err)
	}
	if _, _, err := parseH2loadLog(strings.NewReader("1\t200\n")); err == nil {
		t.Error("a short line in the log is accepted")
	}
}

// serve is a backend that fails every nth request; 0 is never.
func serve(t *testing.T, nth int64) (addr string, seen *atomic.Int64) {
	seen = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := seen.Add(1)
		if nth > 0 && n%nth == 0 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, "one")
		if r.URL.Path == "/chunked" {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "two")
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), seen
}

func TestEveryRequestIsSentOnce(t *testing.T) {
	addr, seen := serve(t, 0)
	heads := make([][]byte, 101)
	for i := range heads {
		heads[i] = requestHead("GET", addr, []string{"/", "/chunked"}[i%2], "X-A: b\r\n")
	}
	l, err := sendAll(t.Context(), addr, 7, heads)
	if err != nil || l.Failed != 0 || l.Requests != 101 || seen.Load() != 101 || l.P50 <= 0 || l.P99 < l.P50 {
		t.Errorf("%+v, %v; the server saw %d", l, err, seen.Load())
	}
}

func TestFailuresAreCounted(t *testing.T) {
	addr, _ := serve(t, 5)
	l, err := sendAll(t.Context(), addr, 1, [][]byte{requestHead("GET", addr, "/", ""), requestHead("GET", addr, "/", ""),
		requestHead("GET", addr, "/", ""), requestHead("GET", addr, "/", ""), requestHead("GET", addr, "/", "")})
	if err != nil || l.Requests != 4 || l.Failed != 1 || !strings.Contains(l.Why, "502") {
		t.Errorf("%+v, %v; want 4 answers and a failure that says 502", l, err)
	}
}

func benchOf(connections int) *Bench {
	return &Bench{opts: options{connections: connections, seconds: 1, rounds: 1, cores: 1}, files: 20000}
}

func TestNewConnectionsAreNew(t *testing.T) {
	for _, secure := range []bool{false, true} {
		var opened atomic.Int64
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }))
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		}
		if secure {
			s.StartTLS()
		} else {
			s.Start()
		}
		r := &Running{Addr: s.Listener.Addr().String(), Contender: Contender{Hops: []Hop{{TLS: secure}}}}
		l, err := newConnections(t.Context(), benchOf(2), Turn{Running: r, Seconds: 1})
		if err != nil || l.Failed != 0 || l.Requests == 0 || l.Requests != opened.Load() {
			t.Errorf("TLS %v: %+v, %v; the server saw %d connections", secure, l, err, opened.Load())
		}
		s.Close()
	}
}

func TestOpenLoopSendsItsRate(t *testing.T) {
	addr, seen := serve(t, 0)
	l, err := openLoop(t.Context(), benchOf(4), Turn{Running: &Running{Addr: addr}, Seconds: 1})
	if err != nil || l.Failed != 0 || l.Requests != fixedRate || seen.Load() != fixedRate+4 {
		t.Errorf("%+v, %v; the server saw %d", l, err, seen.Load())
	}
	bad, _ := serve(t, 100)
	if l, err := openLoop(t.Context(), benchOf(4), Turn{Running: &Running{Addr: bad}, Seconds: 1}); err != nil || l.Failed == 0 {
		t.Errorf("%+v, %v; want failures", l, err)
	}
}
