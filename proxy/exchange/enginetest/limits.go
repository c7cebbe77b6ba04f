package enginetest

import (
	"context"
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
