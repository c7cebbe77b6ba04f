package system

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// A path that is matched as one thing and forwarded as another would walk
// around the JWT of /orders/*.
func TestOnePathIsMatchedAndForwarded(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{})
	c.Orders.App.Extra["/secret"] = func(http.ResponseWriter, *http.Request) { t.Error("reached /secret") }
	for path, want := range map[string]struct {
		status int
		seen   string
	}{
		"/open/x":                      {200, "/x"},
		"/open//x":                     {200, "/x"},
		"/open/./x":                    {200, "/x"},
		"/open/a/../x":                 {200, "/x"},
		"/open/a/%2e%2e/x":             {200, "/x"},
		"/open/a/%2E./x?a=../b":        {200, "/x?a=../b"},
		"/%6fpen/%78":                  {200, "/x"},
		"/open/a%20b":                  {200, "/a%20b"},
		"/open/a%3Fb":                  {200, "/a%3Fb"},
		"/open":                        {200, "/"},
		"/open/../orders/x":            {401, ""},
		"/open/%2e%2e/orders/x":        {401, ""},
		"/open/..%2forders/x":          {400, ""},
		"/open/..%5corders/x":          {400, ""},
		"/open/..;/orders/x":           {400, ""},
		"/open/%00":                    {400, ""},
		"/open/%zz":                    {400, ""},
		"/open/\\..\\orders":           {400, ""},
		"/openx":                       {404, ""},
		"/open/../../../../etc/passwd": {404, ""},
		"//open/x":                     {200, "/x"},
		"//evil.test/open/x":           {404, ""},
	} {
		a := exchangeRaw(t, c.Edge, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")[0]
		if a.StatusCode != want.status {
			t.Errorf("%s: %d, want %d: %s", path, a.StatusCode, want.status, a.Text)
			continue
		}
		if want.status == http.StatusOK {
			if e := echo(t, a); e.Path != want.seen {
				t.Errorf("%s: the app saw %q, want %q", path, e.Path, want.seen)
			}
		}
	}
}

func TestTimeoutEndsTheWaitEverywhere(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{Routes: `  - {name: hasty, match: {path: /hasty/*}, strip_prefix: /hasty, authorization: drop, service: orders, timeout: 1s}
`})
	relayed(c.Orders.App)
	for way, path := range ways("/slow?ms=600000") {
		t.Run(way, func(t *testing.T) {
			app := c.Orders.App
			if strings.Contains(path, "relay") {
				app = c.Inventory.App
			}
			gone := app.Cancelled.Load()
			start := time.Now()
			a := fetch(t, c, "GET", strings.Replace(path, "/open/", "/hasty/", 1), "", nil, nil)
			if took := time.Since(start); took < 900*time.Millisecond { // no upper bound: the app would take ten minutes
				t.Errorf("answered after %s", took)
			}
			if p := problem(t, a); a.StatusCode != http.StatusGatewayTimeout || p.Code != "timeout" {
				t.Errorf("%d %s", a.StatusCode, a.Text)
			}
			kit.Eventually(t, limit, "the app's request is cancelled", func() error {
				if app.Cancelled.Load() == gone {
					return errors.New("not yet")
				}
				return nil
			})
		})
	}
}

func TestRequestIDIsTheEdgesOwnAndGoesAllTheWay(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{})
	_, first := c.Echo("/orders/call?service=inventory&path=/x", c.Token(nil), http.Header{"X-Request-Id": {"guessed"}})
	id := first.Header.Get("X-Request-Id")
	if id == "" || id == "guessed" {
		t.Errorf("X-Request-ID %q", id)
	}
	if via := strings.Join(first.Header.Values("Via"), ", "); strings.Count(via, "lintel") != 2 {
		t.Errorf("Via %q at the first app, want two hops", via)
	}
	a := fetch(t, c, "GET", "/nowhere", "", http.Header{"X-Request-Id": {"guessed"}}, nil)
	if p := problem(t, a); p.RequestID == "guessed" || a.StatusCode != http.StatusNotFound {
		t.Errorf("%d %s", a.StatusCode, a.Text)
	}
}
