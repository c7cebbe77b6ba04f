package system

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

func TestOnlyGoodTokensPassTheEdge(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{Routes: `  - name: staff
    match: {path: /staff/*}
    filters:
      - jwt: {iss: https://issuer.test, audiences: [test], keys: [{file: KEY}], required_claims: {department: [it]}}
    service: orders
`, NoIngress: true})
	_, key, _ := strings.Cut(c.Config, `keys: [{file: "`)
	key, _, _ = strings.Cut(key, `"`)
	c.Config = strings.Replace(c.Config, "{file: KEY}", "{file: "+strconv.Quote(key)+"}", 1)
	kit.Replace(t, c.File, c.Config)
	c.Ingress = kit.Start(t, nil, "ingress", "-c", c.File).Ready(c.Admin)
	kit.Eventually(t, limit, "the chain answers", func() error {
		if status, body := c.Get("/orders/x", c.Token(nil)); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	good := c.Token(nil)
	parts := strings.Split(good, ".")
	before := c.Orders.App.Requests.Load()
	for name, tc := range map[string]struct {
		authorization string
		status        int
		challenge     string // what the challenge must say besides
	}{
		"no token":              {"", 401, ""},
		"another scheme":        {"Basic YWRhOnB3", 401, ""},
		"rubbish":               {"Bearer rubbish", 401, `error="invalid_token"`},
		"altered claims":        {"Bearer " + parts[0] + "." + parts[1][:len(parts[1])-4] + "AAAA." + parts[2], 401, `error="invalid_token"`},
		"altered signature":     {"Bearer " + parts[0] + "." + parts[1] + ".AAAA" + parts[2][4:], 401, `error="invalid_token"`},
		"no signature":          {"Bearer " + unsigned(good), 401, `error="invalid_token"`},
		"signed as HMAC":        {"Bearer " + hmacked(t, good), 401, `error="invalid_token"`},
		"expired":               {"Bearer " + c.Token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), 401, `error="invalid_token"`},
		"not valid yet":         {"Bearer " + c.Token(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), 401, `error="invalid_token"`},
		"without expiry":        {"Bearer " + c.Token(map[string]any{"exp": nil}), 401, `error="invalid_token"`},
		"of another issuer":     {"Bearer " + c.Token(map[string]any{"iss": "https://other.test"}), 401, `error="invalid_token"`},
		"for another audience":  {"Bearer " + c.Token(map[string]any{"aud": "other"}), 401, `error="invalid_token"`},
		"without a subject":     {"Bearer " + c.Token(map[string]any{"sub": nil}), 401, `error="invalid_token"`},
		"a Txn-Token as bearer": {"Bearer " + join(t, c.CADir, "ingress").forge(t, nil), 401, `error="invalid_token"`},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			if tc.authorization != "" {
				h.Set("Authorization", tc.authorization)
			}
			a := fetch(t, c, "GET", "/orders/x", "", h, nil)
			if a.StatusCode != tc.status {
				t.Errorf("status %d, want %d", a.StatusCode, tc.status)
			}
			ch := a.Header.Get("WWW-Authenticate")
			if !strings.HasPrefix(ch, "Bearer ") || !strings.Contains(ch, tc.challenge) || tc.challenge == "" && strings.Contains(ch, "error") {
				t.Errorf("challenge %q", ch)
			}
			p := problem(t, a)
			if a.Header.Get("Cache-Control") != "no-store" || p.Type != "about:blank" {
				t.Errorf("%v %s", a.Header, a.Text)
			}
		})
	}
	t.Run("two credentials", func(t *testing.T) {
		h := http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}}
		if a := fetch(t, c, "GET", "/orders/x", "", h, nil); a.StatusCode/100 != 4 {
			t.Errorf("%d %s", a.StatusCode, a.Text)
		}
	})
	t.Run("a required claim is missing: 403", func(t *testing.T) {
		a := fetch(t, c, "GET", "/staff/x", good, nil, nil)
		if p := problem(t, a); a.StatusCode != http.StatusForbidden || p.Status != 403 {
			t.Errorf("%d %s", a.StatusCode, a.Text)
		}
	})
	if n := c.Orders.App.Requests.Load(); n != before {
		t.Errorf("%d refused requests reached the app", n-before)
	}
	t.Run("a required claim is there", func(t *testing.T) {
		a := fetch(t, c, "GET", "/staff/x", c.Token(map[string]any{"department": "it"}), nil, nil)
		if a.StatusCode != http.StatusOK {
			t.Errorf("%d %s", a.StatusCode, a.Text)
		}
	})
	t.Run("the credential is consumed", func(t *testing.T) {
		if _, e := c.Echo("/orders/x", good, nil); len(e.Header.Values("Authorization")) > 0 {
			t.Errorf("the app was given %q", e.Header.Values("Authorization"))
		}
	})
}

func TestRateLimitTellsTheTruth(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{Routes: `  - name: limited
    match: {path: /limited}
    filters: [{rate_limit: {requests: 3, window: 30s}}]
    respond: {body: "within\n"}
  - name: each
    match: {path: /each/*}
    policies: [user]
    filters: [{rate_limit: {requests: 2, window: 1m, key: [subject]}}]
    service: orders
`})
	t.Run("headers count down, 429 says when to come back, and then it is so", func(t *testing.T) {
		for i := 2; i >= 0; i-- {
			a := fetch(t, c, "GET", "/limited", "", nil, nil)
			if a.StatusCode != http.StatusOK {
				t.Fatalf("request %d: %d %s", 3-i, a.StatusCode, a.Text)
			}
			if got := a.Header.Get("RateLimit"); !strings.Contains(got, fmt.Sprintf(";r=%d;", i)) {
				t.Errorf("RateLimit %q, want r=%d", got, i)
			}
			if got := a.Header.Get("RateLimit-Policy"); !strings.Contains(got, ";q=3;w=30") {
				t.Errorf("RateLimit-Policy %q", got)
			}
		}
		a := fetch(t, c, "GET", "/limited", "", nil, nil)
		if p := problem(t, a); a.StatusCode != http.StatusTooManyRequests || p.Status != 429 {
			t.Fatalf("%d %s", a.StatusCode, a.Text)
		}
		wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
		if err != nil || wait < 1 || wait > 10 {
			t.Fatalf("Retry-After %q, want 1 to 10: one request every 10 s", a.Header.Get("Retry-After"))
		}
		if got := a.Header.Get("RateLimit"); !strings.Contains(got, ";r=0;t="+strconv.Itoa(wait)) {
			t.Errorf("RateLimit %q does not agree with Retry-After %d", got, wait)
		}
		time.Sleep(time.Duration(wait) * time.Second) // what the answer says, not a guess
		if a := fetch(t, c, "GET", "/limited", "", nil, nil); a.StatusCode != http.StatusOK {
			t.Errorf("after Retry-After: %d %s", a.StatusCode, a.Text)
		}
	})
	t.Run("each user has a count of its own", func(t *testing.T) {
		eve := c.Token(map[string]any{"sub": "eve"})
		var got []int
		for _, token := range []string{c.Token(nil), c.Token(nil), c.Token(map[string]any{"jti": "another token"}), eve} {
			got = append(got, fetch(t, c, "GET", "/each/x", token, nil, nil).StatusCode)
		}
		if fmt.Sprint(got) != "[200 200 429 200]" {
			t.Errorf("%v", got)
		}
	})
	t.Run("a spoofed address is not another client", func(t *testing.T) {
		last := 0
		for i := range 5 {
			last = fetch(t, c, "GET", "/limited", "", http.Header{"X-Forwarded-For": {fmt.Sprint("192.0.2.", i)}}, nil).StatusCode
		}
		if last != http.StatusTooManyRequests {
			t.Errorf("the fifth request: %d", last)
		}
	})
}

func TestCacheServesEachWhatIsTheirs(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{Routes: `  - name: cached
    match: {path: /cached/*}
    filters: [{cache: {coalesce_timeout: 1m}}]
    strip_prefix: /cached
    authorization: drop
    service: orders
  - name: mine
    match: {path: /mine/*}
    policies: [user]
    filters: [{cache: {}}]
    strip_prefix: /mine
    service: orders
`})
	release := make(chan struct{})
	var asked atomic.Int64
	answers := func(cacheControl string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			n := asked.Add(1)
			w.Header().Set("Cache-Control", cacheControl)
			w.Header().Set("ETag", `"v1"`)
			if r.Header.Get("If-None-Match") == `"v1"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = fmt.Fprintf(w, "answer %d for %s, %s", n, r.Header.Get("X-User-Id"), r.Header.Get("X-Lintel-Txn"))
		}
	}
	app := c.Orders.App
	app.Extra["/public"] = answers("public, max-age=60")
	app.Extra["/second"] = answers("public, max-age=1")
	app.Extra["/plain"] = answers("max-age=60")
	app.Extra["/private"] = answers("private, max-age=60")
	app.Extra["/no-store"] = answers("no-store")
	app.Extra["/together"] = func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-release
		w.Header().Set("Cache-Control", "public, max-age=60")
		_, _ = io.WriteString(w, "one for all")
	}
	app.Extra["/vary"] = func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("Vary", "Accept-Language")
		_, _ = io.WriteString(w, "in "+r.Header.Get("Accept-Language"))
	}

	t.Run("a hit says so, and its age", func(t *testing.T) {
		first := fetch(t, c, "GET", "/cached/public", "", nil, nil)
		if cs := first.Header.Get("Cache-Status"); !strings.HasPrefix(cs, "lintel; fwd=") {
			t.Errorf("Cache-Status of a miss: %q", cs)
		}
		before := asked.Load()
		kit.Eventually(t, limit, "an age of a second", func() error {
			a := fetch(t, c, "GET", "/cached/public", "", nil, nil)
			if !strings.HasPrefix(a.Header.Get("Cache-Status"), "lintel; hit") || a.Text != first.Text || asked.Load() != before {
				t.Fatalf("%q %q", a.Header.Get("Cache-Status"), a.Text)
			}
			if age, err := strconv.Atoi(a.Header.Get("Age")); err != nil || age < 1 {
				return fmt.Errorf("Age %q", a.Header.Get("Age"))
			}
			return nil
		})
		a := fetch(t, c, "GET", "/cached/public", "", http.Header{"If-None-Match": {`"v1"`}}, nil)
		if a.StatusCode != http.StatusNotModified || a.Text != "" || a.Header.Get("ETag") != `"v1"` || asked.Load() != before {
			t.Errorf("%d %v", a.StatusCode, a.Header)
		}
		if a := fetch(t, c, "HEAD", "/cached/public", "", nil, nil); a.StatusCode != http.StatusOK || a.Text != "" || asked.Load() != before {
			t.Errorf("HEAD: %d %q", a.StatusCode, a.Text)
		}
	})
	t.Run("a stale answer is validated, not fetched anew", func(t *testing.T) {
		first := fetch(t, c, "GET", "/cached/second", "", nil, nil)
		kit.Eventually(t, limit, "validation", func() error {
			a := fetch(t, c, "GET", "/cached/second", "", nil, nil)
			if a.StatusCode != http.StatusOK || a.Text != first.Text {
				t.Fatalf("%d %q, want %q again", a.StatusCode, a.Text, first.Text)
			}
			if cs := a.Header.Get("Cache-Status"); !strings.Contains(cs, "fwd=stale") {
				return fmt.Errorf("Cache-Status %q", cs)
			}
			return nil
		})
	})
	t.Run("a hundred concurrent requests for one answer are one at the app", func(t *testing.T) {
		before := asked.Load()
		var wg sync.WaitGroup
		var started atomic.Int64
		for range 100 {
			wg.Go(func() {
				started.Add(1)
				if a := fetch(t, c, "GET", "/cached/together", "", nil, nil); a.StatusCode != http.StatusOK || a.Text != "one for all" {
					t.Errorf("%d %q", a.StatusCode, a.Text)
				}
			})
		}
		kit.Eventually(t, limit, "all of them are at the ingress", func() error {
			if asked.Load() == before || started.Load() < 100 || inHand(t, c) < 100 {
				return fmt.Errorf("%d started, %d in hand", started.Load(), inHand(t, c))
			}
			return nil
		})
		close(release)
		wg.Wait()
		if n := asked.Load() - before; n != 1 {
			t.Errorf("the app was asked %d times", n)
		}
	})
	t.Run("no user is given another's answer", func(t *testing.T) {
		ada, eve := c.Token(nil), c.Token(map[string]any{"sub": "eve"})
		for _, path := range []string{"/mine/plain", "/mine/private", "/mine/no-store"} {
			for range 3 {
				for user, token := range map[string]string{"ada": ada, "eve": eve} {
					if a := fetch(t, c, "GET", path, token, nil, nil); !strings.Contains(a.Text, "for "+user+",") {
						t.Errorf("%s: %s was given %q (%s)", path, user, a.Text, a.Header.Get("Cache-Status"))
					}
				}
			}
		}
		if a := fetch(t, c, "GET", "/mine/plain", "", nil, nil); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("nobody was given %d %q", a.StatusCode, a.Text)
		}
	})
	t.Run("what must not be stored is not", func(t *testing.T) {
		for _, path := range []string{"/cached/no-store", "/cached/private"} {
			a, b := fetch(t, c, "GET", path, "", nil, nil), fetch(t, c, "GET", path, "", nil, nil)
			if a.Text == b.Text {
				t.Errorf("%s: %q twice (%s)", path, a.Text, b.Header.Get("Cache-Status"))
			}
		}
	})
	t.Run("Vary chooses", func(t *testing.T) {
		for range 2 {
			for _, lang := range []string{"de", "en"} {
				if a := fetch(t, c, "GET", "/cached/vary", "", http.Header{"Accept-Language": {lang}}, nil); a.Text != "in "+lang {
					t.Errorf("asked for %s: %q", lang, a.Text)
				}
			}
		}
	})
}

// inHand is how many requests the ingress is working on, by its own count.
func inHand(t testing.TB, c *kit.Chain) int {
	t.Helper()
	res, err := http.Get("http://" + c.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, _ := io.ReadAll(res.Body)
	sum := 0.0
	for line := range strings.SplitSeq(string(b), "\n") {
		if strings.HasPrefix(line, "http_server_active_requests") {
			v, _ := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			sum += v
		}
	}
	return int(sum)
}

// dying accepts connections, counts the requests that come on them, and closes
// each without an answer.
func dying(t *testing.T) (addr string, requests *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	requests = &atomic.Int64{}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				buf := make([]byte, 64<<10)
				if n, _ := conn.Read(buf); n > 0 {
					requests.Add(1)
				}
			}()
		}
	}()
	return l.Addr().String(), requests
}

func TestFailingServicesAreHidden(t *testing.T) {
	t.Parallel()
	alive := kit.StartApp(t, "alive", "")
	fragile := kit.StartApp(t, "fragile", "")
	var broken atomic.Bool
	fragile.Extra["/stock"] = func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=1")
		_, _ = io.WriteString(w, "seven")
	}
	fragile.Extra["/other"] = fragile.Extra["/stock"]
	dead, dyingCount := dying(t)
	c := kit.StartChain(t, kit.ChainOptions{
		Routes: `  - {name: half, match: {path: /half/*}, strip_prefix: /half, service: half, retries: {attempts: 2}}
  - {name: dying, match: {path: /dying/*}, strip_prefix: /dying, service: dying, retries: {attempts: 2}}
  - {name: fragile, match: {path: /fragile/*}, strip_prefix: /fragile, service: fragile, filters: [{cache: {stale_if_error: 10m}}], retries: {attempts: 0}}
`,
		Services: fmt.Sprintf(`  half: {static: [%q, %q], balance: round_robin, breaker: {enabled: false}}
  dying: {static: [%q], breaker: {enabled: false}}
  fragile: {static: [%q], breaker: {failures: 3, open: 2s, trials: 1}}
`, kit.FreeAddr(t), alive.Addr, dead, fragile.Addr)})

	t.Run("a dead endpoint is hidden by retries", func(t *testing.T) {
		for i := range 20 {
			for _, method := range []string{"GET", "PUT", "POST"} { // a POST that no connection took was never sent
				a := fetch(t, c, method, "/half/x", "", nil, strings.NewReader("body"))
				if e := echo(t, a); e.App != "alive" || e.Method != method || e.Body != "body" {
					t.Fatalf("request %d: %s", i, a.Text)
				}
			}
		}
	})
	t.Run("what may be sent again is, what may not is not", func(t *testing.T) {
		for method, want := range map[string]int64{"GET": 3, "PUT": 3, "DELETE": 3, "POST": 1, "PATCH": 1} {
			before := dyingCount.Load()
			a := fetch(t, c, method, "/dying/x", "", nil, strings.NewReader("body"))
			if p := problem(t, a); a.StatusCode != http.StatusBadGateway || p.Status != 502 {
				t.Errorf("%s: %d %s", method, a.StatusCode, a.Text)
			}
			if n := dyingCount.Load() - before; n != want {
				t.Errorf("%s was sent %d times, want %d", method, n, want)
			}
		}
	})
	t.Run("the breaker opens, tells when to come back, and stale answers bridge it", func(t *testing.T) {
		if a := fetch(t, c, "GET", "/fragile/stock", "", nil, nil); a.Text != "seven" {
			t.Fatalf("%d %s", a.StatusCode, a.Text)
		}
		broken.Store(true)
		var refused answer
		kit.Eventually(t, limit, "the breaker is open", func() error {
			refused = fetch(t, c, "GET", "/fragile/other", "", nil, nil)
			if refused.Header.Get("Content-Type") == "application/problem+json" && problem(t, refused).Code == "breaker-open" {
				return nil
			}
			return errors.New("not yet")
		})
		if wait, err := strconv.Atoi(refused.Header.Get("Retry-After")); refused.StatusCode != http.StatusServiceUnavailable || err != nil || wait < 1 || wait > 2 {
			t.Errorf("%d, Retry-After %q, want 503 and 1 or 2", refused.StatusCode, refused.Header.Get("Retry-After"))
		}
		kit.Eventually(t, limit, "a stale answer", func() error {
			asked := fragile.Requests.Load()
			a := fetch(t, c, "GET", "/fragile/stock", "", nil, nil)
			if a.StatusCode != http.StatusOK || a.Text != "seven" {
				t.Fatalf("%d %s", a.StatusCode, a.Text)
			}
			if strings.Contains(a.Header.Get("Cache-Status"), "fwd=stale") && fragile.Requests.Load() == asked {
				return nil // stale, and the open breaker spared the service
			}
			return fmt.Errorf("Cache-Status %q, %d requests reached the service", a.Header.Get("Cache-Status"), fragile.Requests.Load()-asked)
		})
		broken.Store(false)
		kit.Eventually(t, limit, "the breaker closes", func() error {
			if a := fetch(t, c, "GET", "/fragile/other", "", nil, nil); a.StatusCode != http.StatusOK {
				return fmt.Errorf("%d %s", a.StatusCode, a.Text)
			}
			return nil
		})
	})
}
