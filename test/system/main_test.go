package system

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

func TestMain(m *testing.M) {
	code := m.Run()
	kit.Clean()
	os.Exit(code)
}

// limit bounds every wait on a program.
const limit = time.Minute

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// answer is one parsed HTTP/1.1 answer.
type answer struct {
	*http.Response
	Text string
}

// exchangeRaw writes bytes to addr as they are and returns every final answer
// until the other side closes, or until nothing more comes. A refusal can be
// overtaken by the reset that follows it when not all was read, so one without
// any answer is tried again.
func exchangeRaw(t testing.TB, addr, request string) (out []answer) {
	t.Helper()
	for range 5 {
		var err error
		if out, err = exchangeOnce(addr, request); len(out) > 0 || !errors.Is(err, syscall.ECONNRESET) {
			if len(out) == 0 {
				t.Fatalf("no answer to %.200q: %v", request, err)
			}
			return out
		}
	}
	return out
}

func exchangeOnce(addr, request string) (out []answer, err error) {
	conn, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(limit))
	go func() { _, _ = io.WriteString(conn, request) }() // an early answer must not be missed
	r := bufio.NewReader(conn)
	for {
		a, err := readAnswer(r)
		if err != nil {
			return out, err
		}
		out = append(out, a)
		_ = conn.SetDeadline(time.Now().Add(700 * time.Millisecond)) // is there another one?
	}
}

// readAnswer reads the next final answer.
func readAnswer(r *bufio.Reader) (answer, error) {
	for {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return answer{}, err
		}
		if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		b, err := io.ReadAll(res.Body)
		return answer{res, string(b)}, err
	}
}

// logLine is what these tests need of an access log line.
type logLine struct {
	Status   int    `json:"status"`
	Path     string `json:"path"`
	Listener string `json:"listener"`
	TraceID  string `json:"trace_id"`
	SpanID   string `json:"span_id"`
	Txn      string `json:"txn"`
	Peer     string `json:"peer"`
	User     string `json:"user"`
	Fault    string `json:"fault"`
	Abort    string `json:"abort"`
	Attempts int    `json:"attempts"`
}

// awaitLine waits for a line of p's access log that fits.
func awaitLine(t testing.TB, p *kit.Process, what string, fits func(logLine) bool) logLine {
	t.Helper()
	var found logLine
	kit.Eventually(t, limit, "access log line: "+what, func() error {
		for text := range strings.SplitSeq(p.Stdout.String(), "\n") {
			var l logLine
			if json.Unmarshal([]byte(text), &l) == nil && fits(l) {
				found = l
				return nil
			}
		}
		return errors.New("not there")
	})
	return found
}

// relayed adds /relay?to=SERVICE&path=PATH to an app: it hands the request, of
// whatever kind, to another service through the app's own sidecar.
func relayed(a *kit.App) {
	a.Extra["/relay"] = func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		p := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL = &url.URL{Scheme: "http", Host: a.Outbound, Path: q.Get("path"), RawQuery: q.Get("query")}
			pr.Out.Host = q.Get("to")
			pr.Out.Trailer = pr.In.Trailer // filled while the body is read
		}}
		p.ServeHTTP(w, r)
	}
}

// ways are the paths at the ingress that lead to path at orders (two hops) and
// at inventory (four hops).
func ways(path string) map[string]string {
	path, query, _ := strings.Cut(path, "?")
	return map[string]string{
		"through ingress and sidecar": "/open" + path + "?" + query,
		"through the full chain":      "/open/relay?" + url.Values{"to": {"inventory"}, "path": {path}, "query": {query}}.Encode(),
	}
}

// fetch asks the ingress and reads the whole answer.
func fetch(t testing.TB, c *kit.Chain, method, path, token string, h http.Header, body io.Reader) answer {
	t.Helper()
	res, err := c.Request(bounded(t), method, path, token, h, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	return answer{res, string(b)}
}

// echo decodes what an app says it saw.
func echo(t testing.TB, a answer) kit.Echo {
	t.Helper()
	if a.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", a.StatusCode, a.Text)
	}
	var e kit.Echo
	if err := json.Unmarshal([]byte(a.Text), &e); err != nil {
		t.Fatalf("%v in %s", err, a.Text)
	}
	return e
}

// problem decodes a problem+json answer.
func problem(t testing.TB, a answer) (p struct {
	Type, Title, Detail, Code, Txn string
	Status                         int
	TraceID                        string `json:"trace_id"`
	RequestID                      string `json:"request_id"`
}) {
	t.Helper()
	if ct := a.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("content type %q of %d %s, want application/problem+json", ct, a.StatusCode, a.Text)
	}
	if err := json.Unmarshal([]byte(a.Text), &p); err != nil {
		t.Fatalf("%v in %s", err, a.Text)
	}
	if p.Status != a.StatusCode || p.Title == "" || p.Code == "" || p.RequestID == "" || len(p.TraceID) != 32 {
		t.Errorf("problem+json is not complete: %s", a.Text)
	}
	return p
}

// all turns a header into text, to look for what must not be in it.
func all(h http.Header) string { return fmt.Sprint(map[string][]string(h)) }
