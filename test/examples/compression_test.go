package examples_test

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

func plain(t *testing.T, a answer) string {
	t.Helper()
	var r io.Reader = strings.NewReader(a.body)
	switch coding := a.Header.Get("Content-Encoding"); coding {
	case "":
		return a.body
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		r = z
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	default:
		t.Fatalf("Content-Encoding is %q", coding)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCompressionOfEveryCodingOnBothEngines(t *testing.T) {
	page := strings.Repeat("<p>some text that is repeated</p>\n", 20_000)
	var asked atomic.Int64
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("ETag", `"v1"`)
		switch {
		case strings.HasSuffix(r.URL.Path, "short"):
			_, _ = io.WriteString(w, "short")
		case strings.HasSuffix(r.URL.Path, "known"):
			w.Header().Set("Content-Length", fmt.Sprint(len(page)))
			_, _ = io.WriteString(w, page)
		default:
			_, _ = io.WriteString(w, page)
		}
	})
	g := start(t, "compression.yaml", map[string]string{"WEB_ADDR": addr})
	for engine, h2 := range engines {
		for accept, want := range map[string]string{"gzip": "gzip", "br, gzip;q=0.5": "br", "gzip, deflate, br, zstd": "zstd", "identity": "", "gzip;q=0": ""} {
			for _, path := range []string{"/known", "/chunked"} {
				a := g.exchange("GET", path, "", append(h2, "Accept-Encoding: "+accept)...)
				if got := a.Header.Get("Content-Encoding"); got != want || a.Header.Get("Vary") != "Accept-Encoding" || (a.Header.Get("ETag") == `W/"v1"`) != (want != "") || plain(t, a) != page {
					t.Errorf("%s %s, %s: %q %v", engine, path, accept, got, a.Header)
				}
				if want != "" && len(a.body) > len(page)/10 {
					t.Errorf("%s %s: %d bytes of %d", engine, accept, len(a.body), len(page))
				}
			}
			head := g.exchange("HEAD", "/known", "", append(h2, "Accept-Encoding: "+accept)...)
			if head.Header.Get("Content-Encoding") != want || (head.ContentLength >= 0) != (want == "") || head.body != "" {
				t.Errorf("%s HEAD, %s: %v, length %d", engine, accept, head.Header, head.ContentLength)
			}
		}
		if a := g.exchange("GET", "/short", "", append(h2, "Accept-Encoding: gzip")...); a.Header.Get("Content-Encoding") != "" || a.body != "short" {
			t.Errorf("%s: a short answer: %v", engine, a.Header)
		}
	}
	// What the cache keeps is compressed, one for each Accept-Encoding.
	before := asked.Load()
	for range 3 {
		for _, accept := range []string{"gzip", "br", ""} {
			if a := g.exchange("GET", "/assets/a", "", "Accept-Encoding: "+accept); a.Header.Get("Content-Encoding") != accept || plain(t, a) != page {
				t.Errorf("%s from the cache: %v", accept, a.Header)
			}
		}
	}
	if n := asked.Load() - before; n != 3 {
		t.Errorf("the service was asked %d times, expected once for each coding", n)
	}
}

func TestCompressionPassesEventsOnAtOnce(t *testing.T) {
	next := make(chan string)
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for event := range next {
			_, _ = io.WriteString(w, "data: "+event+"\n")
			_ = http.NewResponseController(w).Flush()
		}
	})
	g := start(t, "compression.yaml", map[string]string{"WEB_ADDR": addr})
	req, err := http.NewRequest(http.MethodGet, g.base+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip")
	sent := make(chan struct{})
	go func() { next <- "0"; close(sent) }()
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	<-sent
	defer func() { _ = res.Body.Close() }()
	if res.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v", res.Header)
	}
	z, err := gzip.NewReader(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(z)
	for i := range 5 {
		if i > 0 {
			next <- fmt.Sprint(i)
		}
		// The service says nothing more before this event has arrived.
		if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("event %d: %q %v", i, line, err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(lines); err != nil || len(rest) != 0 {
		t.Errorf("the end: %q %v", rest, err)
	}
}
