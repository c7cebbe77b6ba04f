package enginetest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func testInformational(t *testing.T, e Engine, w way) {
	t.Run("103 comes before the answer", func(t *testing.T) {
		release := make(chan struct{})
		p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			<-release
			w.Header().Del("Link")
			_, _ = w.Write([]byte("ok"))
		})})
		var once sync.Once
		hint := ""
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == http.StatusEarlyHints {
				once.Do(func() { hint = h.Get("Link"); close(release) })
			}
			return nil
		}}
		req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", p.url("/hints"), nil)
		within(t, "an answer after 103", func() {
			res, err := p.client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if res.StatusCode != 200 || hint == "" || res.Header.Get("Link") != "" {
				t.Errorf("status %d, hint %q, final Link %q", res.StatusCode, hint, res.Header.Get("Link"))
			}
		})
	})
	expect := func(t *testing.T, app http.HandlerFunc) (*http.Response, bool, *countingBody) {
		p := start(t, e, options{way: w, app: app})
		body := &countingBody{Reader: strings.NewReader("body")}
		continued := false
		trace := &httptrace.ClientTrace{Got100Continue: func() { continued = true }}
		ctx, cancel := context.WithTimeout(httptrace.WithClientTrace(context.Background(), trace), patience)
		t.Cleanup(cancel)
		req, _ := http.NewRequestWithContext(ctx, "POST", p.url("/expect"), body)
		req.ContentLength = 4
		req.Header.Set("Expect", "100-continue")
		res, err := p.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res, continued, body
	}
	t.Run("100 lets the body go", func(t *testing.T) {
		got := make(chan string, 1)
		res, continued, _ := expect(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got <- string(b)
		})
		if body := <-got; res.StatusCode != 200 || body != "body" || !continued {
			t.Errorf("status %d, body %q, 100 seen: %v", res.StatusCode, body, continued)
		}
	})
	t.Run("a refusal keeps the body at home", func(t *testing.T) {
		res, continued, body := expect(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusExpectationFailed)
		})
		// net/http's HTTP/2 server hides the expectation, so there an engine
		// built on it can only pass on the refusal.
		if res.StatusCode != http.StatusExpectationFailed || w.client == exchange.HTTP1 && (continued || body.count() != 0) {
			t.Errorf("status %d, 100 seen: %v, %d bytes taken", res.StatusCode, continued, body.count())
		}
	})
}

type countingBody struct {
	io.Reader
	mu sync.Mutex
	n  int
}

func (c *countingBody) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.mu.Lock()
	c.n += n
	c.mu.Unlock()
	return n, err
}

func (c *countingBody) count() int { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

func testStreams(t *testing.T, e Engine, w way) {
	t.Run("events pass at once", func(t *testing.T) {
		next := make(chan struct{})
		p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_ = http.NewResponseController(w).Flush()
			for range next {
				_, _ = io.WriteString(w, "data: x\n\n")
				_ = http.NewResponseController(w).Flush()
			}
		})})
		within(t, "the stream", func() {
			res, err := p.client.Get(p.url("/events")) // the head alone must come through
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			lines := bufio.NewReader(res.Body)
			for range 5 {
				next <- struct{}{}
				if line, err := lines.ReadString('\n'); err != nil || line != "data: x\n" {
					t.Errorf("%q, %v", line, err)
				}
				_, _ = lines.ReadString('\n')
			}
			close(next)
			if _, err := lines.ReadByte(); err != io.EOF {
				t.Errorf("the stream ended with %v", err)
			}
		})
	})
	t.Run("a known length is passed on while it stalls", func(t *testing.T) {
		next := make(chan struct{})
		p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "4")
			_, _ = io.WriteString(w, "ab")
			_ = http.NewResponseController(w).Flush()
			<-next
			_, _ = io.WriteString(w, "cd")
		})})
		within(t, "the answer", func() {
			res, err := p.client.Get(p.url("/stall"))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			half := make([]byte, 2)
			_, err = io.ReadFull(res.Body, half)
			close(next)
			rest, err2 := io.ReadAll(res.Body)
			if err != nil || err2 != nil || string(half)+string(rest) != "abcd" || res.ContentLength != 4 {
				t.Errorf("%q %q %v %v, length %d", half, rest, err, err2, res.ContentLength)
			}
		})
	})
	t.Run("both directions at once", func(t *testing.T) {
		p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			_ = rc.EnableFullDuplex()
			_ = rc.Flush()
			buf := make([]byte, 64)
			for {
				n, err := r.Body.Read(buf)
				_, _ = w.Write(buf[:n])
				_ = rc.Flush()
				if err != nil {
					return
				}
			}
		})})
		within(t, "the conversation", func() {
			pr, pw := io.Pipe()
			res, err := p.client.Post(p.url("/talk"), "text/plain", pr)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			for _, word := range []string{"one", "two", "three"} {
				_, _ = io.WriteString(pw, word)
				echo := make([]byte, len(word))
				if _, err := io.ReadFull(res.Body, echo); err != nil || string(echo) != word {
					t.Errorf("%q came back as %q, %v", word, echo, err)
				}
			}
			_ = pw.Close()
			if rest, err := io.ReadAll(res.Body); err != nil || len(rest) != 0 {
				t.Errorf("%q, %v", rest, err)
			}
		})
	})
	t.Run("an early answer ends an upload", func(t *testing.T) {
		p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// Or net/http waits for the upload before it answers.
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "no")
			_ = http.NewResponseController(w).Flush()
		})})
		within(t, "the early answer", func() {
			pr, pw := io.Pipe()
			defer pw.Close()
			res, err := p.client.Post(p.url("/early"), "text/plain", pr)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != 403 || string(b) != "no" {
				t.Errorf("%d %q %v", res.StatusCode, b, err)
			}
		})
		p.record("/early")
	})
}

func testBroken(t *testing.T, e Engine, w way) {
	t.Run("a client that leaves is felt by the service", func(t *testing.T) {
		arrived, felt := make(chan struct{}), make(chan struct{})
		p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-r.Context().Done()
			close(felt)
		})})
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-arrived; cancel() }()
		req, _ := http.NewRequestWithContext(ctx, "GET", p.url("/leave"), nil)
		if res, err := p.client.Do(req); err == nil {
			_ = res.Body.Close()
			t.Error("the client did not leave")
		}
		within(t, "the cancellation", func() { <-felt })
		if r := p.record("/leave"); r.code != "client-gone" {
			t.Errorf("finished as %+v", r)
		}
	})
	t.Run("a client that leaves during the answer", func(t *testing.T) {
		felt := make(chan struct{})
		p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(felt)
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 8<<10)); err != nil {
					return
				}
			}
		})})
		res, err := p.client.Get(p.url("/half"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.CopyN(io.Discard, res.Body, 1<<20)
		_ = res.Body.Close()
		within(t, "the cancellation", func() { <-felt })
		if r := p.record("/half"); r.abort == nil {
			t.Errorf("finished as if complete: %+v", r)
		}
	})
	for _, known := range []bool{true, false} {
		name := "/cut/chunks"
		if known {
			name = "/cut/length"
		}
		t.Run("a truncated answer is seen to be one: "+name, func(t *testing.T) {
			p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if known {
					w.Header().Set("Content-Length", "100")
				}
				_, _ = io.WriteString(w, "half")
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})})
			res, err := p.client.Get(p.url(name))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err == nil {
				t.Errorf("the client took %q for the whole answer", b)
			}
			if r := p.record(name); r.abort == nil {
				t.Errorf("finished as if complete: %+v", r)
			}
		})
	}
	t.Run("a client that breaks off its upload", func(t *testing.T) {
		felt := make(chan error, 1)
		p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			felt <- err
		})})
		pr, pw := io.Pipe()
		go func() { _, _ = pw.Write([]byte("first part")); _ = pw.CloseWithError(errors.New("enginetest: enough")) }()
		if res, err := p.client.Post(p.url("/upload"), "text/plain", pr); err == nil {
			_ = res.Body.Close()
		}
		within(t, "the broken upload", func() {
			select {
			case err := <-felt:
				if err == nil {
					t.Error("the application took half an upload for a whole one")
				}
			case <-time.After(5 * time.Second): // it may never have been told at all, if it was not sent
			}
		})
		p.record("/upload")
	})
	t.Run("a panic costs one request", func(t *testing.T) {
		got := make(chan seen, 2)
		p := start(t, e, options{way: w, app: recorder(got)})
		p.panicky.Store(true)
		if res, err := p.client.Get(p.url("/panic")); err == nil {
			_ = res.Body.Close()
			if res.StatusCode != http.StatusInternalServerError {
				t.Errorf("status %d", res.StatusCode)
			}
		}
		p.record("/panic")
		res, err := p.client.Get(p.url("/next"))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != 200 {
			t.Errorf("the next request got %d", res.StatusCode)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		p := start(t, e, options{way: w, appAddr: "127.0.0.1:1"})
		_, err := p.trans.Reserve(background(t), p.app, w.service)
		var f *exchange.Fault
		if !errors.As(err, &f) || !f.Retryable || f.Proxy != "connection_refused" || f.Status != http.StatusBadGateway {
			t.Errorf("%#v", err)
		}
	})
}
