package nethttp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func fault(t *testing.T, err error) *exchange.Fault {
	t.Helper()
	var f *exchange.Fault
	if !errors.As(err, &f) {
		t.Fatalf("%v (%T) is not a fault", err, err)
	}
	return f
}

// service answers every connection by script.
func service(t *testing.T, script func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				script(c, bufio.NewReader(c))
			}()
		}
	}()
	return l.Addr().String()
}

func answerOK(c net.Conn, br *bufio.Reader) {
	for {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

func get(ctx context.Context) *exchange.Exchange {
	x := new(exchange.Exchange)
	x.Begin(ctx)
	x.Request = exchange.Request{Method: "GET", Scheme: "http", Authority: "a.example", Path: "/"}
	return x
}

func drain(t *testing.T, x *exchange.Exchange) {
	t.Helper()
	if _, err := io.Copy(io.Discard, x.Response.Body); err != nil {
		t.Fatal(err)
	}
	_ = x.Response.Body.Close()
}

func newTransport(t *testing.T, cfg exchange.TransportConfig) exchange.Transport {
	tr := NewTransport(cfg)
	t.Cleanup(tr.Close)
	return tr
}

func reserve(t *testing.T, tr exchange.Transport, address string) exchange.Upstream {
	t.Helper()
	u, err := tr.Reserve(get(t.Context()), address, exchange.HTTP1)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestConnectionLimitIsWaitedFor(t *testing.T) {
	tr := newTransport(t, exchange.TransportConfig{MaxConns: 1})
	address := service(t, answerOK)
	first := reserve(t, tr, address)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := tr.Reserve(get(ctx), address, exchange.HTTP1)
	if f := fault(t, err); f.Code != "pool-full" || !f.Retryable || f.Status != 503 {
		t.Errorf("%+v", f)
	}
	got := make(chan error, 1)
	go func() {
		u, err := tr.Reserve(get(context.Background()), address, exchange.HTTP1)
		if err == nil {
			u.Release()
		}
		got <- err
	}()
	first.Release()
	select {
	case err := <-got:
		if err != nil || tr.Open() != 1 {
			t.Errorf("%v, %d open", err, tr.Open())
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the waiter was not woken")
	}
}

func TestIdleConnectionsAreBoundedAndExpire(t *testing.T) {
	tr := newTransport(t, exchange.TransportConfig{MaxIdle: 2, IdleTimeout: 2 * time.Second})
	address := service(t, answerOK)
	var held []exchange.Upstream
	for range 4 {
		held = append(held, reserve(t, tr, address))
	}
	for _, u := range held {
		u.Release()
		u.Release() // once is enough
	}
	if tr.Open() != 2 {
		t.Errorf("%d idle connections are kept, 2 may be", tr.Open())
	}
	for end := time.Now().Add(30 * time.Second); tr.Open() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("idle connections do not expire")
		}
	}
}

func TestRetiredConnectionsAreNotUsedAgain(t *testing.T) {
	var at atomic.Int64
	at.Store(time.Now().Add(time.Hour).UnixNano())
	tr := newTransport(t, exchange.TransportConfig{Retire: func() time.Time { return time.Unix(0, at.Load()) }})
	address := service(t, answerOK)
	for _, c := range []struct{ retire, reused bool }{{false, false}, {false, true}} {
		x, u := get(t.Context()), reserve(t, tr, address)
		if u.Info().Reused != c.reused {
			t.Errorf("Reused is %v", u.Info().Reused)
		}
		if err := u.RoundTrip(x); err != nil {
			t.Fatal(err)
		}
		drain(t, x)
	}
	tr.Retire(address)
	at.Store(time.Now().Add(-time.Second).UnixNano())
	for range 2 {
		x, u := get(t.Context()), reserve(t, tr, address)
		if u.Info().Reused {
			t.Error("a connection past its time was used again")
		}
		if err := u.RoundTrip(x); err != nil {
			t.Fatal(err)
		}
		drain(t, x)
		if tr.Open() != 0 {
			t.Errorf("%d connections past their time stay open", tr.Open())
		}
	}
}

func TestFaultsSayWhatHappened(t *testing.T) {
	for name, c := range map[string]struct {
		script      func(net.Conn, *bufio.Reader)
		code, token string
		status      int
	}{
		"closed without an answer": {func(_ net.Conn, br *bufio.Reader) { _, _ = http.ReadRequest(br) }, "reset", "connection_terminated", 502},
		"half a head": {func(c net.Conn, br *bufio.Reader) {
			_, _ = http.ReadRequest(br)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-A: b\r\n")
		}, "reset", "http_response_incomplete", 502},
		"not HTTP": {func(c net.Conn, br *bufio.Reader) {
			_, _ = http.ReadRequest(br)
			_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n\r\n")
		}, "bad-answer", "http_protocol_error", 502},
		"head too large": {func(c net.Conn, br *bufio.Reader) {
			_, _ = http.ReadRequest(br)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Big: ")
			_, _ = c.Write(make([]byte, 256<<10))
		}, "answer-head-too-large", "http_response_header_section_size", 502},
		"endless 1xx": {func(c net.Conn, br *bufio.Reader) {
			_, _ = http.ReadRequest(br)
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n"); err != nil {
					return
				}
			}
		}, "bad-answer", "http_protocol_error", 502},
		"switch nobody asked for": {func(c net.Conn, br *bufio.Reader) {
			_, _ = http.ReadRequest(br)
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			_, _ = br.ReadByte()
		}, "bad-answer", "http_protocol_error", 502},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTransport(t, exchange.TransportConfig{})
			f := fault(t, reserve(t, tr, service(t, c.script)).RoundTrip(get(t.Context())))
			if f.Code != c.code || f.Proxy != c.token || f.Status != c.status || f.Retryable || f.Source != exchange.FromUpstream {
				t.Errorf("%s %s %d, retryable %v: %v", f.Code, f.Proxy, f.Status, f.Retryable, f.Err)
			}
			if tr.Open() != 0 {
				t.Errorf("%d connections stay", tr.Open())
			}
		})
	}
}

func TestStaleConnectionIsTold(t *testing.T) {
	tr := newTransport(t, exchange.TransportConfig{})
	address := service(t, func(c net.Conn, br *bufio.Reader) {
		_, _ = http.ReadRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_, _ = http.ReadRequest(br) // and then it hangs up
	})
	if err := reserve(t, tr, address).RoundTrip(get(t.Context())); err != nil {
		t.Fatal(err)
	}
	u := reserve(t, tr, address)
	if !u.Info().Reused {
		t.Fatal("the connection was not used again")
	}
	if f := fault(t, u.RoundTrip(get(t.Context()))); f.Code != "stale-connection" || f.Retryable {
		t.Errorf("%+v", f)
	}
}

var errGivenUp = errors.New("given up")

func TestCancellationIsToldFromTimeout(t *testing.T) {
	tr := newTransport(t, exchange.TransportConfig{})
	address := service(t, func(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) })
	for cause, code := range map[error]string{context.Canceled: "client-gone", errGivenUp: "timeout"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
		if f := fault(t, reserve(t, tr, address).RoundTrip(get(ctx))); f.Code != code {
			t.Errorf("%v became %s", cause, f.Code)
		}
	}
}

// A service that hangs up is reported at once, though the client has stopped
// in the middle of its upload and says nothing.
func TestLostConnectionDoesNotWaitForTheClient(t *testing.T) {
	tr := newTransport(t, exchange.TransportConfig{})
	address := service(t, func(_ net.Conn, br *bufio.Reader) { _, _ = http.ReadRequest(br) })
	pr, pw := io.Pipe()
	defer pw.Close()
	x := get(t.Context())
	x.Request.Method, x.Request.Body, x.Request.Length = "POST", pr, -1
	done := make(chan error, 1)
	go func() {
		u, err := tr.Reserve(get(context.Background()), address, exchange.HTTP1)
		if err == nil {
			err = u.RoundTrip(x)
		}
		done <- err
	}()
	select {
	case err := <-done:
		if f := fault(t, err); f.Source != exchange.FromUpstream || f.Retryable {
			t.Errorf("%+v", f)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("RoundTrip waits for the client")
	}
}

// A body kept in memory can be sent again, whatever became of it the first
// time.
func TestBodyInMemoryIsSentAgain(t *testing.T) {
	tr := newTransport(t, exchange.TransportConfig{})
	got := make(chan string, 2)
	address := service(t, func(c net.Conn, br *bufio.Reader) {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
	})
	x := get(t.Context())
	body := exchange.NewBody([]byte("again"))
	x.Request.Method, x.Request.Body, x.Request.Length = "PUT", body, 5
	for range 2 {
		body.Rewind()
		if f := fault(t, reserve(t, tr, address).RoundTrip(x)); f.Code != "reset" {
			t.Errorf("%+v", f)
		}
		if b := <-got; b != "again" {
			t.Errorf("%q was sent", b)
		}
	}
}

func TestClosedTransportReservesNothing(t *testing.T) {
	tr := NewTransport(exchange.TransportConfig{})
	tr.Close()
	_, err := tr.Reserve(get(t.Context()), "127.0.0.1:1", exchange.HTTP1)
	if f := fault(t, err); f.Code != "closed" {
		t.Errorf("%+v", f)
	}
}
