package enginetest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func testLimits(t *testing.T, e Engine, w way) {
	got := make(chan seen, 16)
	p := start(t, e, options{way: w, app: recorder(got), server: exchange.ServerConfig{
		HeaderBytes: 16 << 10, HeaderCount: 20, BodyBytes: 1000, RequestTimeout: 2 * time.Second}})
	send := func(path string, body io.Reader, change func(*http.Request)) (int, string) {
		t.Helper()
		req, err := http.NewRequest("POST", p.url(path), body)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(req)
		}
		res, err := p.client.Do(req)
		if err != nil {
			return 0, err.Error() // refused by closing is refused
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	big := strings.Repeat("x", 1001)
	if status, body := send("/fits", strings.NewReader(big[:1000]), nil); status != 200 {
		t.Errorf("a body at the limit: %d %s", status, body)
	}
	if status, _ := send("/fits/unknown", struct{ io.Reader }{strings.NewReader(big[:1000])}, nil); status != 200 {
		t.Errorf("a body of unknown length at the limit: %d", status)
	}
	if status, body := send("/over", strings.NewReader(big), nil); status != 413 {
		t.Errorf("a body over the limit: %d %s", status, body)
	}
	if r := p.record("/over"); r.code == "" {
		t.Errorf("observers saw %+v", r)
	}
	if status, body := send("/over/unknown", struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 5000))}, nil); status != 413 {
		t.Errorf("a body of unknown length over the limit: %d %s", status, body)
	}
	if status, body := send("/fields", nil, func(r *http.Request) {
		for i := range 21 {
			r.Header.Set("X-"+strconv.Itoa(i), "v")
		}
	}); status != 431 {
		t.Errorf("too many fields: %d %s", status, body)
	}
	if r := p.record("/fields"); r.code == "" {
		t.Errorf("observers saw %+v", r)
	}
	if status, body := send("/head", nil, func(r *http.Request) { r.Header.Set("X-Big", strings.Repeat("v", 64<<10)) }); status == 200 {
		t.Errorf("a huge head: %d %s", status, body)
	}
	pr, pw := io.Pipe()
	defer pw.Close()
	go func() { _, _ = pw.Write([]byte("slow")) }()
	within(t, "the refusal of a slow body", func() {
		if status, body := send("/slow", pr, nil); status != 408 && status != 0 {
			t.Errorf("a body that does not arrive: %d %s", status, body)
		}
	})
	if r := p.record("/slow"); r.code == "" {
		t.Errorf("observers saw %+v", r)
	}
}

// testCancelled: a client that stops sending holds nobody up once its exchange
// has been given up, as it is by a route's timeout.
func testCancelled(t *testing.T, e Engine, w way) {
	tooLong := errors.New("enginetest: too long")
	stall := func(t *testing.T, serve func(*proxy, *exchange.Exchange) error) (int, string) {
		t.Helper()
		p := start(t, e, options{way: w, app: recorder(make(chan seen, 1)), serve: serve})
		pr, pw := io.Pipe()
		defer pw.Close()
		go func() { _, _ = pw.Write([]byte("some")) }()
		req, err := http.NewRequest("PUT", p.url("/stalls"), pr)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = 100
		var status int
		var body []byte
		within(t, "the answer", func() {
			res, err := p.client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			status = res.StatusCode
			body, _ = io.ReadAll(res.Body)
		})
		return status, string(body)
	}
	t.Run("while the body is kept", func(t *testing.T) {
		status, body := stall(t, func(_ *proxy, x *exchange.Exchange) error {
			x.Expire(100*time.Millisecond, tooLong)
			defer x.Unexpire()
			_, err := io.ReadAll(x.Request.Body)
			_, again := x.Request.Body.Read(make([]byte, 1))
			if !errors.Is(err, tooLong) || !errors.Is(again, tooLong) {
				t.Errorf("reading the body ended with %v, then %v", err, again)
			}
			return &exchange.Fault{Source: exchange.FromClient, Status: 408, Code: "kept", Close: true, Err: err}
		})
		if status != 408 || body != "kept" {
			t.Errorf("%d %q", status, body)
		}
	})
	t.Run("while the body is sent on", func(t *testing.T) {
		status, body := stall(t, func(p *proxy, x *exchange.Exchange) error {
			x.Expire(100*time.Millisecond, tooLong)
			defer x.Unexpire()
			return p.forward(x)
		})
		if status != 504 || body != "timeout" {
			t.Errorf("%d %q", status, body)
		}
	})
	t.Run("before anything is read", func(t *testing.T) {
		if status, _ := stall(t, func(_ *proxy, x *exchange.Exchange) error {
			x.Cancel(tooLong)
			if _, err := io.ReadAll(x.Request.Body); !errors.Is(err, tooLong) {
				t.Errorf("reading the body ended with %v", err)
			}
			return &exchange.Fault{Source: exchange.FromClient, Status: 408, Code: "kept", Close: true}
		}); status != 408 {
			t.Errorf("%d", status)
		}
	})
	t.Run("not once the body has come", func(t *testing.T) {
		p := start(t, e, options{way: w, app: recorder(make(chan seen, 4)), serve: func(_ *proxy, x *exchange.Exchange) error {
			b, err := io.ReadAll(x.Request.Body)
			x.Cancel(tooLong)
			if len(b) != 100<<10 || err != nil {
				t.Errorf("%d bytes, %v", len(b), err)
			}
			return &exchange.Fault{Source: exchange.FromUpstream, Status: 504, Code: "late"}
		}})
		for range 3 { // on one connection, over HTTP/1 too
			res, err := p.client.Post(p.url("/late"), "a/b", strings.NewReader(strings.Repeat("x", 100<<10)))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if res.StatusCode != 504 || string(b) != "late" || err != nil || res.Close {
				t.Errorf("%d %q, %v, close: %v", res.StatusCode, b, err, res.Close)
			}
		}
	})
}

func testDrain(t *testing.T, e Engine, w way) {
	next := make(chan struct{})
	p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		for range next {
			_, _ = io.WriteString(w, "tick")
			_ = http.NewResponseController(w).Flush()
		}
	})})
	res, err := p.client.Get(p.url("/stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	tick := func() {
		t.Helper()
		within(t, "a tick", func() {
			next <- struct{}{}
			if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
				t.Error(err)
			}
		})
	}
	tick()
	type outcome struct {
		cut int
		err error
	}
	down := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cut, err := p.server.Shutdown(ctx)
		down <- outcome{cut, err}
	}()
	eventually(t, "new connections to be refused", func() bool {
		c, err := net.Dial("tcp", p.addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	tick()
	select {
	case o := <-down:
		t.Fatalf("Shutdown returned %+v while a stream ran", o)
	default:
	}
	close(next)
	if b, err := io.ReadAll(res.Body); err != nil || len(b) != 0 {
		t.Errorf("the stream ended with %q, %v", b, err)
	}
	within(t, "the rest of Shutdown", func() {
		if o := <-down; o.cut != 0 || o.err != nil {
			t.Errorf("Shutdown returned %+v", o)
		}
	})
	t.Run("what does not end is cut", func(t *testing.T) {
		hold := make(chan struct{})
		defer close(hold)
		p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-hold
		})})
		res, err := p.client.Get(p.url("/held"))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if cut, err := p.server.Shutdown(ctx); cut != 1 || err != nil {
			t.Errorf("Shutdown cut %d, %v", cut, err)
		}
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Error("a cut stream ended cleanly")
		}
		if r := p.record("/held"); r.abort == nil {
			t.Errorf("finished as %+v", r)
		}
	})
}
