package examples_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestProtectionByAddress(t *testing.T) {
	api := newService(t)
	g := start(t, "protection.yaml", map[string]string{"API_ADDR": api.addr(), "PROXIES": "127.0.0.0/8"})
	for from, status := range map[string]int{"192.0.2.1": 200, "2001:db8::7": 200, "192.0.2.66": 403, "198.51.100.1": 403, "": 403, "192.0.2.1, 198.51.100.1": 403, "198.51.100.1, 192.0.2.1": 200} {
		var lines []string
		if from != "" {
			lines = append(lines, "X-Forwarded-For: "+from)
		}
		if a := g.exchange("GET", "/admin/x", "", lines...); a.StatusCode != status {
			t.Errorf("%q: %d, want %d", from, a.StatusCode, status)
		}
	}
	// Who is no trusted proxy says nothing about addresses.
	g = start(t, "protection.yaml", map[string]string{"API_ADDR": api.addr(), "PROXIES": "10.0.0.0/8"})
	if a := g.exchange("GET", "/admin/x", "", "X-Forwarded-For: 192.0.2.1"); a.StatusCode != 403 || !strings.Contains(a.body, "127.0.0.1") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestProtectionFromBodies(t *testing.T) {
	api := newService(t)
	g := start(t, "protection.yaml", map[string]string{"API_ADDR": api.addr()})
	large := `"` + strings.Repeat("x", 64<<10) + `"`
	for engine, h2 := range engines {
		for _, c := range []struct {
			body, contentType string
			status            int
			code              string
		}{
			{`{"a":1}`, "application/json", 200, ""},
			{`chunked:{"a":1}`, "application/merge-patch+json", 200, ""},
			{large, "application/json", 413, "body-too-large"},
			{"chunked:" + large, "application/json", 413, "body-too-large"},
			{`<a/>`, "application/xml", 415, "type-refused"},
			{``, "", 200, ""},
		} {
			lines := h2
			if c.contentType != "" {
				lines = append(lines, "Content-Type: "+c.contentType)
			}
			a := g.exchange("POST", "/x", c.body, lines...)
			var p struct{ Code string }
			_ = json.Unmarshal([]byte(a.body), &p)
			if a.StatusCode != c.status || p.Code != c.code {
				t.Errorf("%s: %.20s of %s: %d %s, want %d %s", engine, c.body, c.contentType, a.StatusCode, a.body, c.status, c.code)
			}
		}
		if a := g.exchange("POST", "/x", "{}", append(h2, "Content-Type: application/json", "Content-Encoding: gzip")...); a.StatusCode != 415 || a.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("%s: %d %v", engine, a.StatusCode, a.Header)
		}
	}
}

func TestProtectionOfBrowsers(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Referrer-Policy", "origin")
		_, _ = io.WriteString(w, "ok")
	})
	g := start(t, "protection.yaml", map[string]string{"API_ADDR": addr})
	for path, referrer := range map[string]string{"/x": "origin", "/admin/x": "strict-origin-when-cross-origin"} { // the second is refused
		a := g.exchange("GET", path, "")
		h := a.Header
		if h.Get("Content-Security-Policy") != "default-src 'self'; frame-ancestors 'self' https://portal.example.com" || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("Referrer-Policy") != referrer || h.Get("Strict-Transport-Security") != "" || h.Get("Permissions-Policy") == "" {
			t.Errorf("%s: %d %v", path, a.StatusCode, h)
		}
	}
}

func TestOpenAPITellsWhatIsWrong(t *testing.T) {
	shop := newService(t)
	g := start(t, "openapi.yaml", map[string]string{"SHOP_ADDR": shop.addr(), "OPENAPI_FILE": example("openapi/shop.yaml")})
	const isJSON = "Content-Type: application/json"
	for engine, h2 := range engines {
		before := shop.count()
		for _, c := range []struct {
			method, path, body string
			status             int
			pointers           string
		}{
			{"GET", "/v1/orders?limit=5", "", 200, ""},
			{"GET", "/v1/orders/7", "", 200, ""},
			{"POST", "/v1/orders", `{"items":[{"sku":"A-1","qty":2}]}`, 200, ""},
			{"POST", "/v1/orders", `chunked:{"items":[{"sku":"A-1","qty":2}]}`, 200, ""},
			{"GET", "/v1/orders?limit=0&lmit=5", "", 400, " query:limit query:lmit"},
			{"POST", "/v1/orders", `{"items":[{"sku":"a b","qty":0}]}`, 400, " body#/items/0/qty body#/items/0/sku"},
			{"POST", "/v1/orders", ``, 400, " body"},
			{"GET", "/v1/orders/seven", "", 400, " path:id"},
			{"GET", "/v1/customers", "", 404, ""},
			{"DELETE", "/v1/orders", "", 405, ""},
		} {
			a := g.exchange(c.method, c.path, c.body, append(h2, isJSON)...)
			var p struct {
				Errors []struct{ In, Name, Pointer, Detail string }
			}
			if err := json.Unmarshal([]byte(a.body), &p); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, e := range p.Errors {
				got += " " + e.In
				if e.Name != "" {
					got += ":" + e.Name
				}
				got += e.Pointer
			}
			if a.StatusCode != c.status || got != c.pointers {
				t.Errorf("%s %s %s: %d%s, want %d%s: %s", engine, c.method, c.path, a.StatusCode, got, c.status, c.pointers, a.body)
			}
		}
		if a := g.exchange("POST", "/v1/orders", "{}", append(h2, "Content-Type: text/plain")...); a.StatusCode != 415 {
			t.Errorf("%s: %d", engine, a.StatusCode)
		}
		if n := shop.count() - before; n != 4 {
			t.Errorf("%s: the service was asked %d times, expected for the 4 good requests", engine, n)
		}
	}
}

func TestMaintenance(t *testing.T) {
	fail := false
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Maintenance-Key") != "" {
			t.Error("the key reached the service")
		}
		if fail {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "stack trace of the service")
			return
		}
		_, _ = io.WriteString(w, "shop")
	})
	const browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	env := map[string]string{"SHOP_ADDR": addr, "MAINTENANCE_KEY": "a key of at least sixteen bytes", "MAINTENANCE": "true"}
	g := start(t, "maintenance.yaml", env)
	for engine, h2 := range engines {
		page := g.exchange("GET", "/x", "", append(h2, browser)...)
		if page.StatusCode != 503 || page.Header.Get("Retry-After") != "600" || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") || page.Header.Get("Vary") != "Accept" ||
			!strings.Contains(page.body, "the shop is closed until noon, please come back in 600 seconds") {
			t.Errorf("%s: %d %v %s", engine, page.StatusCode, page.Header, page.body)
		}
		problem := g.exchange("GET", "/x", "", h2...)
		if problem.StatusCode != 503 || problem.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(problem.body, `"code":"maintenance"`) {
			t.Errorf("%s: %d %s", engine, problem.StatusCode, problem.body)
		}
		if a := g.exchange("GET", "/x", "", append(h2, "X-Maintenance-Key: a key of at least sixteen bytes")...); a.body != "shop" {
			t.Errorf("%s: a tester gets %d %s", engine, a.StatusCode, a.body)
		}
	}
	delete(env, "MAINTENANCE")
	if err := os.Unsetenv("MAINTENANCE"); err != nil {
		t.Fatal(err)
	}
	g = start(t, "maintenance.yaml", env)
	if a := g.exchange("GET", "/x", "", browser); a.body != "shop" {
		t.Errorf("open: %d %s", a.StatusCode, a.body)
	}
	fail = true
	for _, accept := range []string{browser, "Accept: application/json"} {
		if a := g.exchange("GET", "/x", "", accept); a.StatusCode != 500 || strings.Contains(a.body, "stack") || !strings.Contains(a.body, "Internal Server Error") {
			t.Errorf("%s: %d %s", accept, a.StatusCode, a.body)
		}
	}
}
