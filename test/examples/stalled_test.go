package examples_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A filter that reads a body whole must not wait for ever for a client that has
// stopped sending; the answer comes although the client never sends the rest.
func TestAStalledUploadIsEndedWhileAFilterReadsIt(t *testing.T) {
	shop := newService(t)
	text, err := os.ReadFile(example("openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const key = "          strict_query: true\n"
	if !strings.Contains(string(text), key) {
		t.Fatal("the example has changed")
	}
	hasty := filepath.Join(t.TempDir(), "hasty.yaml")
	if err := os.WriteFile(hasty, []byte(strings.Replace(string(text), key, key+"          timeout: 100ms\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Abs(example(""))
	if err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(examples, hasty)
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, rel, map[string]string{"SHOP_ADDR": shop.addr(), "OPENAPI_FILE": example("openapi/shop.yaml")})
	for engine := range engines {
		for _, chunked := range []bool{false, true} {
			transport := &http.Transport{}
			if engine == "HTTP/2" {
				transport.Protocols = new(http.Protocols)
				transport.Protocols.SetUnencryptedHTTP2(true)
			}
			stalled, w := io.Pipe()
			go func() { _, _ = io.WriteString(w, `{"items":`) }()
			req, err := http.NewRequest(http.MethodPost, g.base+"/v1/orders", stalled)
			if err != nil {
				t.Fatal(err)
			}
			if !chunked {
				req.ContentLength = 100
			}
			req.Header.Set("Content-Type", "application/json")
			began := time.Now()
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatalf("%s: %v", engine, err)
			}
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			_ = w.Close()
			transport.CloseIdleConnections()
			if res.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(body), `"request-timeout"`) || !strings.Contains(string(body), "100ms") {
				t.Errorf("%s: %d %s", engine, res.StatusCode, body)
			}
			if took := time.Since(began); took < 100*time.Millisecond {
				t.Errorf("%s: after %v", engine, took)
			}
		}
	}
	// The limit is taken back: a slow upload that no filter holds up goes on.
	if a := g.exchange("POST", "/v1/orders", `{"items":[{"sku":"A","qty":1}]}`, "Content-Type: application/json"); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if shop.count() != 1 {
		t.Errorf("the service was asked %d times", shop.count())
	}
}
