package examples_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
)

func startTransforms(t *testing.T, answer string) (g *gateway, asked func() (*http.Request, string), token string) {
	t.Helper()
	var last *http.Request
	var body string
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		last, body = r, string(b)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Powered-By", "something")
		_, _ = io.WriteString(w, answer)
	})
	g = start(t, "transforms.yaml", map[string]string{"JWT_SECRET": secret, "API_ADDR": addr})
	return g, func() (*http.Request, string) { return last, body }, hs256(t, claims("ada/../root"))
}

func TestTransformsPathQueryAndHeader(t *testing.T) {
	g, asked, token := startTransforms(t, "{}")
	for engine, h2 := range engines {
		a := g.exchange("GET", "/mine/notes/7?debug=1&q=a%20b&x=1", "", append(h2, "Authorization: Bearer "+token, "X-Old-Name: v", "X-Caller: root")...)
		r, _ := asked()
		if a.StatusCode != 200 || r.URL.EscapedPath() != "/users/ada%2F..%2Froot/notes/7" || r.URL.RawQuery != "search=a%20b&x=1&source=edge" {
			t.Errorf("%s: %d, the service saw %s", engine, a.StatusCode, r.URL)
		}
		if h := r.Header; h.Get("X-New-Name") != "v" || h.Get("X-Old-Name") != "" || h.Get("X-Asked-For") != "/mine/notes/7" || len(h.Values("X-Caller")) != 1 || h.Get("X-Caller") != "ada/../root from 127.0.0.1" {
			t.Errorf("%s: the service saw %v", engine, h)
		}
		if a.Header.Get("X-Powered-By") != "" || a.Header.Get("X-Request") == "" {
			t.Errorf("%s: the client saw %v", engine, a.Header)
		}
	}
}

func TestTransformsJSONBodies(t *testing.T) {
	g, asked, token := startTransforms(t, `{"n":1.50,"internal":{"x":1},"items":[{"id":1,"internal":2}],"created_at":"now"}`)
	for engine, h2 := range engines {
		for _, body := range []string{`{"id":9,"text":"hi","author":"eve"}`, `chunked:{"id":9,"text":"hi","author":"eve"}`} {
			a := g.exchange("POST", "/comments", body, append(h2, "Authorization: Bearer "+token, "Content-Type: application/json", "Accept-Encoding: gzip")...)
			r, got := asked()
			if got != `{"text":"hi","author":"ada/../root"}` || r.ContentLength != int64(len(got)) || r.Header.Get("Accept-Encoding") != "" {
				t.Errorf("%s: the service got %q, length %d, %v", engine, got, r.ContentLength, r.Header)
			}
			if want := `{"data":{"n":1.50,"items":[{"id":1}],"created":"now"}}`; a.body != want || a.ContentLength != int64(len(want)) {
				t.Errorf("%s: the client got %q, length %d", engine, a.body, a.ContentLength)
			}
		}
		for body, status := range map[string]int{`{"id":`: 400, `chunked:` + string(make([]byte, 2<<20)): 413} {
			a := g.exchange("POST", "/comments", body, append(h2, "Authorization: Bearer "+token, "Content-Type: application/json")...)
			var p struct{ Status int }
			if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.StatusCode != status || p.Status != status {
				t.Errorf("%s: %d %s, want %d", engine, a.StatusCode, a.body, status)
			}
		}
	}
}

func TestTransformsNeverLetSecretsPassUnedited(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"malformed": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"internal":1`) },
		"encoded": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "internal")
		},
		"large": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(append([]byte(`{"internal":"`), make([]byte, 2<<20)...))
		},
	} {
		addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			h(w, r)
		})
		g := start(t, "transforms.yaml", map[string]string{"JWT_SECRET": secret, "API_ADDR": addr})
		a := g.exchange("GET", "/comments", "", "Authorization: Bearer "+hs256(t, claims("ada")))
		var p struct{ Code string }
		if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.StatusCode != 502 || p.Code != "answer-unreadable" {
			t.Errorf("%s: %d %.200s", name, a.StatusCode, a.body)
		}
	}
}
