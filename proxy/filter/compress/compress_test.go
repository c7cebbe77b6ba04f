package compress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func newFilter(t testing.TB, c Config) *Filter {
	t.Helper()
	lease := store.NewSet().Lease()
	t.Cleanup(lease.Release)
	f, err := Kind().Build(&c, &filter.Env{Store: lease})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter)
}

// text compresses well.
func text(n int) []byte { return []byte(strings.Repeat(`{"name":"value"},`, n/17+1))[:n] }

// exchanged is an answer with a body as a service gives it: of known length
// when length is 0 or more.
func exchanged(accept string, body io.Reader, length int64, lines ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Request.Method = "GET"
	if accept != "" {
		x.Request.Header.Add("Accept-Encoding", accept)
	}
	x.Response.Status, x.Response.Length = 200, length
	if body != nil {
		x.Response.Body = io.NopCloser(body)
	}
	x.Response.Header.Add("Content-Type", "application/json")
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		x.Response.Header.Set(name, value)
	}
	return x
}

func decoded(t testing.TB, coding string, r io.Reader) []byte {
	t.Helper()
	switch coding {
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		r = z
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", coding, err)
	}
	return b
}

func TestTheClientsFavouriteIsChosen(t *testing.T) {
	all, some := newFilter(t, Config{}), newFilter(t, Config{Codings: []string{"gzip", "br"}})
	for _, c := range []struct {
		f            *Filter
		accept, want string
	}{
		{all, "gzip, deflate, br, zstd", "zstd"},
		{all, "gzip, deflate, br", "br"},
		{all, "gzip;q=1.0, br;q=0.9", "gzip"},
		{all, "x-gzip", "gzip"},
		{all, "*", "zstd"},
		{all, "*;q=0.5, gzip", "gzip"},
		{all, "*, zstd;q=0", "br"},
		{all, "identity, gzip;q=0.5", ""},
		{all, "identity;q=0.5, gzip;q=0.5", "gzip"},
		{all, "identity;q=0, gzip;q=0.1", "gzip"},
		{all, "identity;q=0", ""},
		{all, "gzip;q=0", ""},
		{all, "deflate", ""},
		{all, "", ""},
		{some, "br, gzip", "gzip"},
		{some, "zstd", ""},
	} {
		x := exchanged(c.accept, bytes.NewReader(text(5000)), 5000)
		c.f.OnRequest(x)
		c.f.OnResponse(x)
		if got := x.Response.Header.Get("Content-Encoding"); got != c.want || x.Response.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %q, Vary %q, want %q", c.accept, got, x.Response.Header.Get("Vary"), c.want)
		}
		if got := decoded(t, c.want, x.Response.Body); !bytes.Equal(got, text(5000)) {
			t.Errorf("%s: %d bytes came back", c.accept, len(got))
		}
	}
}

func TestWhatIsNotCompressed(t *testing.T) {
	f := newFilter(t, Config{MinSize: 1000})
	for name, change := range map[string]func(*exchange.Exchange){
		"small":             func(x *exchange.Exchange) { x.Response.Length = 999 },
		"empty":             func(x *exchange.Exchange) { x.Response.Length = 0 },
		"another type":      func(x *exchange.Exchange) { x.Response.Header.Set("Content-Type", "image/png") },
		"no type":           func(x *exchange.Exchange) { x.Response.Header.Del("Content-Type") },
		"encoded":           func(x *exchange.Exchange) { x.Response.Header.Set("Content-Encoding", "br") },
		"no-transform":      func(x *exchange.Exchange) { x.Response.Header.Set("Cache-Control", "public, no-transform") },
		"part":              func(x *exchange.Exchange) { x.Response.Status = 206 },
		"Content-Range":     func(x *exchange.Exchange) { x.Response.Header.Set("Content-Range", "bytes 0-1/2") },
		"no content":        func(x *exchange.Exchange) { x.Response.Status = 204 },
		"no body":           func(x *exchange.Exchange) { x.Response.Body = nil },
		"switched protocol": func(x *exchange.Exchange) { x.Response.Status = 101 },
	} {
		x := exchanged("gzip", bytes.NewReader(text(5000)), 5000)
		change(x)
		body, length := x.Response.Body, x.Response.Length
		f.OnRequest(x)
		f.OnResponse(x)
		if x.Response.Body != body || x.Response.Length != length || x.Response.Header.Has("Vary") {
			t.Errorf("%s: %v", name, x.Response.Header)
		}
	}
	x := exchanged("gzip", bytes.NewReader(text(5000)), 5000)
	x.Request.Header.Add("Cache-Control", "no-transform")
	f.OnRequest(x)
	f.OnResponse(x)
	if x.Response.Header.Has("Content-Encoding") || !x.Response.Header.Has("Vary") {
		t.Error("the client's no-transform is not heeded")
	}
}

func TestFieldsOfACompressedAnswer(t *testing.T) {
	f := newFilter(t, Config{})
	x := exchanged("gzip", bytes.NewReader(text(5000)), 5000, `ETag: "a"`, "Accept-Ranges: bytes", "Content-MD5: x", "Repr-Digest: x", "Vary: Origin", "Content-Encoding: identity")
	f.OnRequest(x)
	f.OnResponse(x)
	h := &x.Response.Header
	if h.Get("ETag") != `W/"a"` || h.Has("Accept-Ranges") || h.Has("Content-MD5") || h.Has("Repr-Digest") || h.Joined("Vary") != "Origin, Accept-Encoding" || h.Joined("Content-Encoding") != "gzip" || x.Response.Length != -1 {
		t.Errorf("%v, %d bytes", h, x.Response.Length)
	}
	_, _ = io.Copy(io.Discard, x.Response.Body)
	head := exchanged("gzip", nil, 5000, `ETag: "a"`)
	head.Request.Method = "HEAD"
	f.OnRequest(head)
	f.OnResponse(head)
	if h := &head.Response.Header; h.Get("ETag") != `W/"a"` || h.Get("Content-Encoding") != "gzip" || head.Response.Length != -1 || head.Response.Body != nil {
		t.Errorf("HEAD: %v", h)
	}
	for match, want := range map[string]string{`W/"a"`: `W/"a"`, `"a"`: `"a"`} {
		x := exchanged("gzip", nil, 0, `ETag: "a"`, "Vary: Origin")
		x.Response.Status = 304
		x.Request.Header.Add("If-None-Match", match)
		f.OnRequest(x)
		f.OnResponse(x)
		if got := x.Response.Header.Get("ETag"); got != want {
			t.Errorf("304 to %s: %s", match, got)
		}
		if got := x.Response.Header.Joined("Vary"); got != "Origin, Accept-Encoding" {
			t.Errorf("304 has Vary %s", got)
		}
	}
}

func TestTakeOver(t *testing.T) {
	f := newFilter(t, Config{TakeOver: true})
	x := exchanged("gzip, br", bytes.NewReader(text(5000)), -1)
	f.OnRequest(x)
	if x.Request.Header.Has("Accept-Encoding") {
		t.Error("the service may still compress")
	}
	f.OnResponse(x)
	if x.Response.Header.Get("Content-Encoding") != "br" {
		t.Error("the client's wish is lost")
	}
	_ = x.Response.Body.Close()
}

// TestBodiesComeBackWhole: every coding and effort, sizes around the bounds,
// however the service's bytes come, whole or read in small pieces.
func TestBodiesComeBackWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for _, coding := range []string{"gzip", "br", "zstd"} {
		for _, effort := range []string{"low", "medium", "high"} {
			f := newFilter(t, Config{Codings: []string{coding}, Effort: effort})
			for _, size := range []int{1, heavy - 1, heavy, heavy + 1, pieceSize, pieceSize + 1, wholeSize + 5} {
				for kind, data := range map[string][]byte{"text": text(size), "noise": noise[:size]} {
					for how, body := range map[string]func(io.Reader) io.Reader{
						"at once": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "with its end": iotest.DataErrReader, "memory": nil,
					} {
						if effort != "medium" && how != "at once" {
							continue // they differ in the encoder alone
						}
						for _, length := range []int64{int64(size), -1} {
							x := exchanged(coding, nil, length)
							if body == nil {
								x.Response.Body = exchange.NewBody(data)
							} else {
								x.Response.Body = io.NopCloser(body(bytes.NewReader(data)))
							}
							f.OnRequest(x)
							f.OnResponse(x)
							got, err := io.ReadAll(iotest.HalfReader(x.Response.Body))
							if err != nil {
								t.Fatal(err)
							}
							if x.Response.Length >= 0 && x.Response.Length != int64(len(got)) {
								t.Errorf("%s %s: the answer says %d bytes and has %d", coding, how, x.Response.Length, len(got))
							}
							if back := decoded(t, x.Response.Header.Get("Content-Encoding"), bytes.NewReader(got)); !bytes.Equal(back, data) {
								t.Errorf("%s %s: %d bytes of %s %s came back as %d", coding, effort, size, kind, how, len(back))
							}
							if err := x.Response.Body.Close(); err != nil {
								t.Error(err)
							}
						}
					}
				}
			}
		}
	}
}

func TestWhatGrowsGoesAsItIs(t *testing.T) {
	f := newFilter(t, Config{})
	r := rand.New(rand.NewPCG(3, 4))
	noise := make([]byte, 5000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	x := exchanged("gzip", nil, 5000, `ETag: "a"`)
	x.Response.Body = exchange.NewBody(noise)
	f.OnRequest(x)
	f.OnResponse(x)
	got, _ := io.ReadAll(x.Response.Body)
	if x.Response.Header.Has("Content-Encoding") || x.Response.Header.Get("ETag") != `"a"` || !bytes.Equal(got, noise) || !x.Response.Header.Has("Vary") {
		t.Errorf("%v", x.Response.Header)
	}
}

// TestEventsArriveWhenTheyHappen: of a stream every piece can be decoded before
// the service sends the next.
func TestEventsArriveWhenTheyHappen(t *testing.T) {
	for _, coding := range []string{"gzip", "br", "zstd"} {
		f := newFilter(t, Config{Codings: []string{coding}})
		pr, pw := io.Pipe()
		x := exchanged(coding, pr, -1, "Content-Type: text/event-stream")
		x.Response.Body = pr
		f.OnRequest(x)
		f.OnResponse(x)
		var plain io.Reader
		switch coding {
		case "gzip":
			plain = lazy(func() (io.Reader, error) { return gzip.NewReader(x.Response.Body) })
		case "br":
			plain = brotli.NewReader(x.Response.Body)
		case "zstd":
			z, err := zstd.NewReader(x.Response.Body, zstd.WithDecoderConcurrency(1))
			if err != nil {
				t.Fatal(err)
			}
			defer z.Close()
			plain = z
		}
		for i, size := range []int{1, 20, heavy * 2, 3} {
			event := append(text(size), byte('0'+i))
			sent := make(chan struct{})
			go func() { _, _ = pw.Write(event); close(sent) }()
			got := make([]byte, len(event))
			if _, err := io.ReadFull(plain, got); err != nil || !bytes.Equal(got, event) {
				t.Fatalf("%s: event %d: %v", coding, i, err)
			}
			<-sent
		}
		_ = pw.Close()
		if rest, err := io.ReadAll(plain); len(rest) != 0 || err != nil {
			t.Errorf("%s: the end: %d more bytes, %v", coding, len(rest), err)
		}
		_ = x.Response.Body.Close()
	}
}

type lazyReader struct {
	open func() (io.Reader, error)
	r    io.Reader
}

func lazy(open func() (io.Reader, error)) io.Reader { return &lazyReader{open: open} }

func (l *lazyReader) Read(p []byte) (int, error) {
	if l.r == nil {
		r, err := l.open()
		if err != nil {
			return 0, err
		}
		l.r = r
	}
	return l.r.Read(p)
}

func TestABrokenAnswerDoesNotLookComplete(t *testing.T) {
	broke := errors.New("broke off")
	for _, coding := range []string{"gzip", "br", "zstd"} {
		f := newFilter(t, Config{Codings: []string{coding}})
		x := exchanged(coding, io.MultiReader(bytes.NewReader(text(100_000)), iotest.ErrReader(broke)), -1)
		f.OnRequest(x)
		f.OnResponse(x)
		got, err := io.ReadAll(x.Response.Body)
		if !errors.Is(err, broke) {
			t.Errorf("%s: %v", coding, err)
		}
		var r io.Reader = brotli.NewReader(bytes.NewReader(got))
		if coding == "gzip" {
			if r, err = gzip.NewReader(bytes.NewReader(got)); err != nil {
				continue
			}
		} else if coding == "zstd" {
			z, err := zstd.NewReader(bytes.NewReader(got), zstd.WithDecoderConcurrency(1))
			if err != nil {
				t.Fatal(err)
			}
			defer z.Close()
			r = z
		}
		if _, err := io.ReadAll(r); err == nil {
			t.Errorf("%s: the client takes it for complete", coding)
		}
		_ = x.Response.Body.Close()
	}
}

func TestHeavyWorkIsAwaitedInASlot(t *testing.T) {
	f := newFilter(t, Config{Codings: []string{"gzip"}, Parallel: 1})
	x := exchanged("gzip", bytes.NewReader(text(100_000)), 100_000)
	waits := 0
	x.Waiter = func(ctx context.Context, wait func(context.Context) error) error { waits++; return wait(ctx) }
	f.OnRequest(x)
	f.OnResponse(x)
	_, _ = io.Copy(io.Discard, x.Response.Body)
	if waits == 0 {
		t.Error("100,000 bytes were compressed on the loop")
	}
	small := exchanged("gzip", bytes.NewReader(text(2000)), 2000)
	small.Waiter = func(context.Context, func(context.Context) error) error {
		t.Error("2,000 bytes were awaited")
		return nil
	}
	f.OnRequest(small)
	f.OnResponse(small)
	_, _ = io.Copy(io.Discard, small.Response.Body)

	// With all slots taken, an exchange that ends is not kept waiting.
	f.slots <- struct{}{}
	gone := errors.New("gone")
	x = exchanged("gzip", bytes.NewReader(text(100_000)), 100_000)
	f.OnRequest(x)
	f.OnResponse(x)
	x.Cancel(gone)
	if _, err := io.ReadAll(x.Response.Body); !errors.Is(err, gone) {
		t.Errorf("it ended with %v", err)
	}
	if err := x.Response.Body.Close(); err != nil {
		t.Error(err)
	}
	<-f.slots
}

func TestBadConfigNamesItsKey(t *testing.T) {
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{Config{Codings: []string{"gzip", "deflate"}}, "codings[1]", "zstd, br or gzip"},
		{Config{Codings: []string{"gzip", "gzip"}}, "codings[1]", "twice"},
		{Config{Codings: []string{}}, "codings", "at least one"},
		{Config{ContentTypes: []string{"json"}}, "content_types[0]", "application/json"},
		{Config{Effort: "maximal"}, "codings[0]", "low, medium or high"},
	} {
		lease := store.NewSet().Lease()
		_, err := Kind().Build(&c.cfg, &filter.Env{Store: lease})
		lease.Release()
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("%+v: got %v, want %s: …%s…", c.cfg, err, c.path, c.msg)
		}
	}
}

func TestExplainIsOneLine(t *testing.T) {
	if got := newFilter(t, Config{Codings: []string{"br"}, MinSize: 10, Parallel: 3}).Explain(); got != "br, medium effort, from 10 bytes, 3 at once" {
		t.Error(got)
	}
}

func TestWhatIsNotCompressedAllocatesNothing(t *testing.T) {
	f := newFilter(t, Config{})
	x := exchanged("gzip, deflate, br, zstd", nil, 0, "Content-Type: image/png")
	if n := testing.AllocsPerRun(100, func() { f.OnRequest(x); f.OnResponse(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAnswers(b *testing.B) {
	data := make([]byte, 0, 64<<10)
	for i := 0; len(data) < 64<<10; i++ {
		data = fmt.Appendf(data, `{"id":%d,"name":"user %d","email":"user%d@example.com","active":%t},`, i*7919, i, i, i%3 == 0)
	}
	for _, coding := range []string{"gzip", "br", "zstd"} {
		for _, effort := range []string{"low", "medium", "high"} {
			f := newFilter(b, Config{Codings: []string{coding}, Effort: effort})
			b.Run(coding+"/"+effort, func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				var sent int64
				for b.Loop() {
					x := exchanged(coding, bytes.NewReader(data), int64(len(data)))
					f.OnRequest(x)
					f.OnResponse(x)
					sent, _ = io.Copy(io.Discard, x.Response.Body)
					_ = x.Response.Body.Close()
				}
				b.ReportMetric(float64(len(data))/float64(sent), "ratio")
			})
		}
	}
}
