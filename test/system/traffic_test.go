package system

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"lintel.dev/lintel/test/kit"
)

const mib = 1 << 20

func TestStreamsGoThroughTheMesh(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{})
	relayed(c.Orders.App)
	next := make(chan struct{})
	for _, a := range []*kit.App{c.Orders.App, c.Inventory.App} {
		streams(a, next)
	}

	for way, path := range ways("/ws") {
		t.Run("WebSocket "+way, func(t *testing.T) {
			conn, res, err := websocket.Dial(bounded(t), "ws://"+c.Edge+path, nil)
			if err != nil {
				t.Fatalf("%v %v", err, res)
			}
			defer func() { _ = conn.CloseNow() }()
			conn.SetReadLimit(mib)
			for _, msg := range []string{"hello", strings.Repeat("x", 200_000), ""} {
				if err := conn.Write(bounded(t), websocket.MessageText, []byte(msg)); err != nil {
					t.Fatal(err)
				}
				if _, got, err := conn.Read(bounded(t)); err != nil || string(got) != msg {
					t.Fatalf("%d bytes, %v; want the %d sent", len(got), err, len(msg))
				}
			}
			if err := conn.Close(websocket.StatusNormalClosure, "done"); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	for way, path := range ways("/events") {
		t.Run("server-sent events arrive one by one "+way, func(t *testing.T) {
			res, err := c.Request(bounded(t), "GET", path, "", nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			r := bufio.NewReader(res.Body)
			for i := range 3 { // the app sends the next one only when told to
				line, err := r.ReadString('\n')
				if _, err2 := r.ReadString('\n'); err != nil || err2 != nil || line != fmt.Sprintf("data: %d\n", i) {
					t.Fatalf("%q %v %v", line, err, err2)
				}
				next <- struct{}{}
			}
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("the stream ended with %v", err)
			}
		})
	}
	for way, path := range ways("/slow?ms=600000") {
		t.Run("a client that goes away cancels the app's request "+way, func(t *testing.T) {
			app := c.Orders.App
			if strings.Contains(path, "relay") {
				app = c.Inventory.App
			}
			before, gone := app.Requests.Load(), app.Cancelled.Load()
			ctx, cancel := context.WithCancel(bounded(t))
			done := make(chan error, 1)
			go func() {
				res, err := c.Request(ctx, "GET", path, "", nil, nil)
				if err == nil {
					_ = res.Body.Close()
				}
				done <- err
			}()
			kit.Eventually(t, limit, "the request is in hand", func() error {
				if app.Requests.Load() == before {
					return errors.New("not yet")
				}
				return nil
			})
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			kit.Eventually(t, limit, "the app's request is cancelled", func() error {
				if app.Cancelled.Load() == gone {
					return errors.New("not yet")
				}
				return nil
			})
		})
	}
	for way, path := range ways("/trailers") {
		t.Run("trailers "+way, func(t *testing.T) {
			req, err := http.NewRequestWithContext(bounded(t), "POST", "http://"+c.Edge+path, io.MultiReader(strings.NewReader("body")))
			if err != nil {
				t.Fatal(err)
			}
			req.Trailer = http.Header{"X-Sum": {"42"}}
			req.Header.Set("TE", "trailers")
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			b, err := io.ReadAll(res.Body)
			if err != nil || string(b) != "body" || res.Trailer.Get("X-Echo-Sum") != "42" || res.Trailer.Get("X-Late") != "yes" {
				t.Errorf("%q %v, trailers %v", b, err, res.Trailer)
			}
		})
	}
	for way, path := range ways("/early") {
		t.Run("103 early hints "+way, func(t *testing.T) {
			var hints []string
			ctx := httptrace.WithClientTrace(bounded(t), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, " ", h.Get("Link")))
				return nil
			}})
			res, err := c.Request(ctx, "GET", path, "", nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			if res.StatusCode != 200 || len(hints) != 1 || hints[0] != "103 </style.css>" {
				t.Errorf("%d, hints %q", res.StatusCode, hints)
			}
		})
	}
	t.Run("HEAD tells the length and sends no body", func(t *testing.T) {
		for way, path := range ways("/sized") {
			a := fetch(t, c, "HEAD", path, "", nil, nil)
			if a.StatusCode != 200 || a.ContentLength != 12345 || a.Text != "" {
				t.Errorf("%s: %d, length %d, %q", way, a.StatusCode, a.ContentLength, a.Text)
			}
		}
		// A body would be taken for the next answer on the connection.
		out, err := exec.CommandContext(bounded(t), "curl", "-sSI", "http://"+c.Edge+"/open/sized", "http://"+c.Edge+"/open/sized").CombinedOutput()
		if err != nil || strings.Count(string(out), "200 OK") != 2 || strings.Count(string(out), "Content-Length: 12345") != 2 {
			t.Errorf("%v %s", err, out)
		}
	})
	t.Run("Expect: 100-continue with curl", func(t *testing.T) {
		file := kit.File(t, "body", strings.Repeat("x", 5*mib))
		curl := func(path string) string {
			out, err := exec.CommandContext(bounded(t), "curl", "-sS", "-v", "-o", os.DevNull, "-T", file, "-H", "Expect: 100-continue",
				"--expect100-timeout", "15", "-w", "\nstatus=%{http_code} sent=%{size_upload} seconds=%{time_total}\n", "http://"+c.Edge+path).CombinedOutput()
			if err != nil {
				t.Errorf("%v %s", err, out)
			}
			return string(out)
		}
		for way, path := range ways("/count") {
			if out := curl(path); !strings.Contains(out, "HTTP/1.1 100 Continue") || !strings.Contains(out, fmt.Sprintf("status=200 sent=%d", 5*mib)) {
				t.Errorf("%s: %s", way, out)
			}
		}
		if out := curl("/orders/count"); strings.Contains(out, "100 Continue") || !strings.Contains(out, "status=401 sent=0") {
			t.Errorf("a refused upload was asked for: %s", out)
		}
	})
}

// streams adds what the tests above ask for.
func streams(a *kit.App, next <-chan struct{}) {
	a.Extra["/events"] = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	}
	a.Extra["/trailers"] = func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Echo-Sum")
		_, _ = w.Write(b)
		w.Header().Set("X-Echo-Sum", r.Trailer.Get("X-Sum"))
		w.Header().Set(http.TrailerPrefix+"X-Late", "yes")
	}
	a.Extra["/early"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "done")
	}
	a.Extra["/sized"] = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "12345")
		if r.Method != http.MethodHead {
			_, _ = w.Write(make([]byte, 12345))
		}
	}
	a.Extra["/count"] = func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		_, _ = fmt.Fprintf(w, "%d %x %v", n, h.Sum(nil), err)
	}
	a.Extra["/produce"] = func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("mib"))
		_, _ = io.Copy(w, &pattern{left: int64(n) * mib})
	}
	a.Extra["/mirror"] = func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(w, r.Body)
	}
}

// pattern is left bytes that are not all the same, hashed as they are read.
type pattern struct {
	left int64
	at   byte
	sum  hash.Hash
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.left)]
	for i := range b {
		b[i] = p.at
		p.at = p.at*5 + 3
	}
	p.left -= int64(len(b))
	if p.sum != nil {
		p.sum.Write(b)
	}
	return len(b), nil
}

func TestHugeBodiesPassInConstantMemory(t *testing.T) {
	const patient = "timeout: 5m"
	c := kit.StartChain(t, kit.ChainOptions{Sidecar: "  " + patient + "\n",
		Routes: "  - {name: big, match: {path: /big/*}, strip_prefix: /big, authorization: drop, service: orders, " + patient + "}\n"})
	streams(c.Orders.App, nil)
	const size = 200
	procs := map[string]*kit.Process{"ingress": c.Ingress, "sidecar": c.Orders.Process}
	before := map[string]int64{}
	for name, p := range procs {
		before[name] = peak(t, p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	drain := func(t *testing.T, path string, body io.Reader) string {
		t.Helper()
		method := "GET"
		if body != nil {
			method = "POST"
		}
		res, err := c.Request(ctx, method, path, "", nil, body)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		h := sha256.New()
		n, err := io.Copy(h, res.Body)
		if err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		return fmt.Sprintf("%d %x <nil>", n, h.Sum(nil))
	}
	want := &pattern{left: size * mib, sum: sha256.New()}
	_, _ = io.Copy(io.Discard, struct{ io.Reader }{want})
	whole := fmt.Sprintf("%d %x <nil>", size*mib, want.sum.Sum(nil))
	t.Run("upload", func(t *testing.T) {
		res, err := c.Request(ctx, "POST", "/big/count", "", nil, &pattern{left: size * mib})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != whole {
			t.Errorf("the app got %s (%v), want %s", b, err, whole)
		}
	})
	t.Run("download", func(t *testing.T) {
		if got := drain(t, "/big/produce?mib="+strconv.Itoa(size), nil); got != whole {
			t.Errorf("got %s, want %s", got, whole)
		}
	})
	t.Run("both at once", func(t *testing.T) {
		if got := drain(t, "/big/mirror", &pattern{left: size * mib}); got != whole {
			t.Errorf("got %s, want %s", got, whole)
		}
	})
	for name, p := range procs {
		if grown := peak(t, p) - before[name]; grown > 48*mib {
			t.Errorf("%s: its peak memory grew by %d MiB for bodies of %d MiB", name, grown/mib, size)
		}
	}
}

// peak is the most memory that p has had resident.
func peak(t *testing.T, p *kit.Process) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatalf("no VmHWM in %s", b)
	return 0
}

func TestMalformedRequestsAreRefusedOrReframed(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{Listener: ", limits: {header_timeout: 3s, header_bytes: 16KiB, header_count: 50, body_bytes: 1MiB}"})
	var mu sync.Mutex
	seen := map[string]int{} // requests that reached the app, by their query
	record := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.URL.Path+"?"+r.URL.RawQuery]++
		mu.Unlock()
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			w.WriteHeader(http.StatusNoContent)
		}
	}
	c.Orders.App.Extra["/x"], c.Orders.App.Extra["/smuggled"] = record, record
	count := func(key string) int {
		mu.Lock()
		defer mu.Unlock()
		return seen[key]
	}
	for i, tc := range []struct {
		name, request string
		may           int  // requests that may reach the app, each one re-framed; the rest must be refused
		must          bool // it must be refused
	}{
		{"CL and TE", "POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n", 1, false},
		{"TE and CL", "POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 60\r\n\r\n0\r\n\r\nGET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n", 1, false},
		{"duplicate CL that differ", "POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 50\r\n\r\nabcGET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n", 0, true},
		{"CL list", "POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 50\r\n\r\nabcGET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n", 0, true},
		{"negative CL", "POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n", 0, true},
		{"CL with a plus", "POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 0, true},
		{"TE that is not chunked", "POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 0, true},
		{"TE chunked twice", "POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nGET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n", 0, true},
		{"TE in HTTP/1.0", "POST /open/x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 45\r\n\r\n0\r\n\r\nGET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n", 1, false},
		{"obs-fold", "GET /open/x HTTP/1.1\r\nHost: a\r\nX-One: 1\r\n folded\r\n\r\n", 1, false},
		{"obs-fold of TE", "POST /open/x HTTP/1.1\r\nHost: a\r\nX: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /open/smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 2, false},
		{"bare LF", "GET /open/x HTTP/1.1\nHost: a\nConnection: close\n\n", 1, false},
		{"bare CR in a value", "GET /open/x HTTP/1.1\r\nHost: a\r\nX: a\rX-User-Id: root\r\n\r\n", 0, true},
		{"NUL in a value", "GET /open/x HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 0, true},
		{"space before the colon", "POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc", 0, true},
		{"space in a name", "GET /open/x HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n", 0, true},
		{"no colon", "GET /open/x HTTP/1.1\r\nHost: a\r\nrubbish\r\n\r\n", 0, true},
		{"no Host", "GET /open/x HTTP/1.1\r\n\r\n", 0, true},
		{"two Hosts", "GET /open/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 0, true},
		{"a Host with a path", "GET /open/x HTTP/1.1\r\nHost: a/b\r\n\r\n", 0, true},
		{"a Host with user information", "GET /open/x HTTP/1.1\r\nHost: root@a\r\n\r\n", 0, true},
		{"chunk size that overflows", "POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff1\r\nabc\r\n0\r\n\r\n", 1, true},
		{"chunk size with a sign", "POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", 1, true},
		{"encoded slash", "GET /open/%2fadmin HTTP/1.1\r\nHost: a\r\n\r\n", 0, true},
		{"encoded NUL", "GET /open/%00 HTTP/1.1\r\nHost: a\r\n\r\n", 0, true},
		{"a fragment", "GET /open/x#y HTTP/1.1\r\nHost: a\r\n\r\n", 0, true},
		{"rubbish", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", 0, true},
		{"HTTP/0.9", "GET /open/x\r\n\r\n", 0, true},
		{"HTTP/3 by word", "GET /open/x HTTP/3.0\r\nHost: a\r\n\r\n", 0, true},
		{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 0, true},
		{"TRACE", "TRACE /open/x HTTP/1.1\r\nHost: a\r\nAuthorization: hush\r\n\r\n", 0, true},
		{"an Upgrade to h2c", "GET /open/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", 1, false},
		{"too many header lines", "GET /open/x HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 60) + "\r\n", 0, true},
		{"too large a head", "GET /open/x HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 64<<10) + "\r\n\r\n", 0, true},
		{"too large a body", "POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat("y", 2000000), 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			smuggled := count("/smuggled?")
			as := exchangeRaw(t, c.Edge, strings.Replace(tc.request, "/open/x", "/open/x?case="+strconv.Itoa(i), 1))
			served := 0
			for _, a := range as {
				switch {
				case a.StatusCode < 400:
					served++
				case a.StatusCode > 499 && a.StatusCode != http.StatusNotImplemented && a.StatusCode != http.StatusHTTPVersionNotSupported:
					t.Errorf("status %d: %s", a.StatusCode, a.Text)
				}
			}
			reached := count("/x?case=" + strconv.Itoa(i))
			if reached > 1 || served > tc.may || tc.must && served > 0 || tc.may == 0 && reached > 0 {
				t.Errorf("%d served, %d reached the app; at most %d may, refusal needed: %v", served, reached, tc.may, tc.must)
			}
			if len(as) == 0 && !tc.must { // a reset is a refusal, too
				t.Error("no answer at all")
			}
			if n := count("/smuggled?") - smuggled; n > 0 && tc.may < 2 {
				t.Errorf("%d requests were smuggled", n)
			}
		})
	}
	t.Run("an absolute-form target decides, whatever Host says", func(t *testing.T) {
		as := exchangeRaw(t, c.Edge, "GET http://good.test/open/y?q=1 HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n")
		if len(as) != 1 {
			t.Fatalf("%d answers", len(as))
		}
		if as[0].StatusCode == http.StatusBadRequest {
			return // refusing is as good
		}
		if e := echo(t, as[0]); e.Host != "good.test" || e.Path != "/y?q=1" || strings.Contains(all(e.Header), "evil.test") {
			t.Errorf("the app saw %+v", e)
		}
	})
	t.Run("a client too slow with its head is cut", func(t *testing.T) {
		conn, err := net.Dial("tcp", c.Edge)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		start := time.Now()
		_ = conn.SetDeadline(start.Add(limit))
		_, _ = io.WriteString(conn, "GET /open/x HTTP/1.1\r\nHost: a\r\nX-Slow: ")
		go func() {
			for { // a byte now and then must not keep it open
				if _, err := io.WriteString(conn, "y"); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
		b, err := io.ReadAll(conn)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatal("still open")
		}
		if took := time.Since(start); took < 500*time.Millisecond {
			t.Errorf("cut after %s with %q, want after about 3 s", took, b)
		}
	})
	t.Run("an idle client without a request is no exchange", func(t *testing.T) {
		conn, err := net.Dial("tcp", c.Edge)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	})
	if !c.Ingress.Running() || !c.Orders.Process.Running() {
		t.Error("a process ended")
	}
	if status, body := c.Get("/orders/after", c.Token(nil)); status != http.StatusOK {
		t.Errorf("after all that: %d %s", status, body)
	}
}
