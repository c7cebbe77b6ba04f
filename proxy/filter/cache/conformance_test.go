package cache

import (
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// step is one exchange of a conformance test: what the client asks, what the
// service would answer, and what the client must get.
type step struct {
	after  time.Duration
	ask    string   // "GET /" when empty
	with   []string // request fields
	status int      // the service's; 200 when 0
	says   []string // its answer's fields
	hit    bool     // the answer is an older step's
	got    int      // the client's status; 0: the service's, or 200 on a hit
	has    []string // fields of the client's answer
}

// The requirements of RFC 9111 and its neighbours, a row each, named by section.
// Every step's body is its number, so a hit shows whose answer was given.
func TestConformance(t *testing.T) {
	const day = 24 * time.Hour
	fresh := []string{"Cache-Control: max-age=60"}
	etag := []string{"Cache-Control: max-age=60", `ETag: "1"`}
	dated := []string{"Cache-Control: max-age=60", "Last-Modified: Tue, 31 Dec 2024 00:00:00 GMT"}
	heuristic := Config{Heuristic: day}
	cdn := Config{Targets: []string{"CDN-Cache-Control"}}
	for _, c := range []struct {
		section, name string
		config        Config
		steps         []step
	}{
		// RFC 9111, section 3: storing.
		{"9111 3", "an answer without freshness or validator is not reused", Config{}, []step{{}, {}}},
		{"9111 3", "an unknown status is not stored", Config{}, []step{{status: 499, says: fresh}, {}}},
		{"9111 3", "a final status that is understood is stored", Config{}, []step{{status: 410, says: fresh}, {hit: true, got: 410}}},
		{"9111 3.1", "fields that Connection names are not stored", Config{}, []step{{says: append([]string{"Connection: x-a", "X-A: 1"}, fresh...)}, {hit: true, has: []string{"X-A: "}}}},
		{"9111 3.1", "unknown fields are stored", Config{}, []step{{says: append([]string{"X-A: 1"}, fresh...)}, {hit: true, has: []string{"X-A: 1"}}}},
		{"9111 3.2", "a 304 replaces stored fields", Config{}, []step{{says: append([]string{"X-A: 1"}, etag...)}, {after: 61 * time.Second, status: 304, says: []string{"X-A: 2"}, hit: true, has: []string{"X-A: 2"}}, {hit: true, has: []string{"X-A: 2"}}}},
		{"9111 3.2", "but not those of the body", Config{}, []step{{says: append([]string{"Content-Type: a/b"}, etag...)}, {after: 61 * time.Second, status: 304, says: []string{"Content-Type: c/d"}, hit: true, has: []string{"Content-Type: a/b"}}}},
		{"9111 3.3", "a partial answer is not taken for a whole one", Config{}, []step{{with: []string{"Range: bytes=0-0"}, status: 206, says: append([]string{"Content-Range: bytes 0-0/9"}, fresh...)}, {}}},
		{"9111 3.4", "a stored whole answers a range", Config{}, []step{{says: fresh}, {with: []string{"Range: bytes=0-0"}, hit: true, got: 206, has: []string{"Content-Range: bytes 0-0/1"}}}},
		{"9111 3.5", "an answer to Authorization is not for others", Config{}, []step{{with: []string{"Authorization: a"}, says: fresh}, {}}},
		{"9111 3.5", "but with public", Config{}, []step{{with: []string{"Authorization: a"}, says: []string{"Cache-Control: public, max-age=60"}}, {hit: true}}},
		{"9111 3.5", "and with s-maxage", Config{}, []step{{with: []string{"Authorization: a"}, says: []string{"Cache-Control: s-maxage=60"}}, {hit: true}}},
		{"9111 3.5", "and with must-revalidate", Config{}, []step{{with: []string{"Authorization: a"}, says: []string{"Cache-Control: must-revalidate, max-age=60"}}, {hit: true}}},

		// Section 4: constructing answers.
		{"9111 4", "the query is part of the key", Config{}, []step{{ask: "GET /?a", says: fresh}, {ask: "GET /?b"}}},
		{"9111 4", "HEAD is answered from GET", Config{}, []step{{says: fresh}, {ask: "HEAD /", hit: true}}},
		{"9111 4", "GET is not answered from HEAD", Config{}, []step{{ask: "HEAD /", says: fresh}, {}}},
		{"9111 4", "POST is not answered from GET", Config{}, []step{{says: fresh}, {ask: "POST /", status: 500}}},
		{"9111 4.1", "Vary by a field that is the same", Config{}, []step{{with: []string{"A: 1"}, says: append([]string{"Vary: A"}, fresh...)}, {with: []string{"A: 1"}, hit: true}}},
		{"9111 4.1", "Vary by a field that differs", Config{}, []step{{with: []string{"A: 1"}, says: append([]string{"Vary: A"}, fresh...)}, {with: []string{"A: 2"}}}},
		{"9111 4.1", "Vary by a field that is missing", Config{}, []step{{with: []string{"A: 1"}, says: append([]string{"Vary: A"}, fresh...)}, {}}},
		{"9111 4.1", "Vary by a field that is missing in both", Config{}, []step{{says: append([]string{"Vary: A"}, fresh...)}, {hit: true}}},
		{"9111 4.1", "Vary on several lines", Config{}, []step{{with: []string{"B: 1"}, says: append([]string{"Vary: A", "Vary: B"}, fresh...)}, {with: []string{"B: 2"}}}},
		{"9111 4.1", "Vary: *", Config{}, []step{{says: append([]string{"Vary: *"}, fresh...)}, {}}},
		{"9111 4.1", "Vary: * among others", Config{}, []step{{says: append([]string{"Vary: A, *"}, fresh...)}, {}}},
		{"9111 4.1", "variants are kept side by side", Config{}, []step{{with: []string{"A: 1"}, says: append([]string{"Vary: A"}, fresh...)}, {with: []string{"A: 2"}, says: append([]string{"Vary: A"}, fresh...)}, {with: []string{"A: 1"}, hit: true}}},
		{"9111 4.2", "fresh until max-age", Config{}, []step{{says: fresh}, {after: 59 * time.Second, hit: true, has: []string{"Age: 59"}}}},
		{"9111 4.2", "and not at it", Config{}, []step{{says: fresh}, {after: 60 * time.Second}}},
		{"9111 4.2.1", "s-maxage beats max-age", Config{}, []step{{says: []string{"Cache-Control: max-age=1, s-maxage=60"}}, {after: 30 * time.Second, hit: true}}},
		{"9111 4.2.1", "max-age beats Expires", Config{}, []step{{says: []string{"Cache-Control: max-age=60", "Expires: 0"}}, {after: 30 * time.Second, hit: true}}},
		{"9111 4.2.1", "Expires counts from Date", Config{}, []step{{says: []string{"Date: Tue, 31 Dec 2024 23:59:00 GMT", "Expires: Wed, 01 Jan 2025 00:00:30 GMT"}}, {after: 29 * time.Second, hit: true}, {after: 2 * time.Second}}},
		{"9111 4.2.1", "unreadable Expires is in the past", Config{}, []step{{says: []string{"Expires: soon"}}, {}}},
		{"9111 4.2.1", "of two max-ages the least", Config{}, []step{{says: []string{"Cache-Control: max-age=60", "Cache-Control: max-age=5"}}, {after: 6 * time.Second}}},
		{"9111 4.2.2", "heuristic: a tenth of the age", heuristic, []step{{says: []string{"Last-Modified: Tue, 31 Dec 2024 23:50:00 GMT"}}, {after: 59 * time.Second, hit: true}, {after: 2 * time.Second}}},
		{"9111 4.2.2", "heuristic: bounded", Config{Heuristic: time.Minute}, []step{{says: []string{"Last-Modified: Tue, 01 Jan 2019 00:00:00 GMT"}}, {after: 61 * time.Second}}},
		{"9111 4.2.2", "heuristic: not with an explicit lifetime", heuristic, []step{{says: []string{"Cache-Control: max-age=0", "Last-Modified: Tue, 01 Jan 2019 00:00:00 GMT"}}, {}}},
		{"9111 4.2.2", "heuristic: not with no-cache", heuristic, []step{{says: []string{"Cache-Control: no-cache", "Last-Modified: Tue, 01 Jan 2019 00:00:00 GMT"}}, {}}},
		{"9111 4.2.2", "heuristic: not for a status it is not defined for", heuristic, []step{{status: 403, says: []string{"Last-Modified: Tue, 01 Jan 2019 00:00:00 GMT"}}, {}}},
		{"9111 4.2.3", "Age that came with it counts", Config{}, []step{{says: append([]string{"Age: 50"}, fresh...)}, {after: 5 * time.Second, hit: true, has: []string{"Age: 55"}}, {after: 6 * time.Second}}},
		{"9111 4.2.3", "Date in the past counts", Config{}, []step{{says: append([]string{"Date: Tue, 31 Dec 2024 23:59:10 GMT"}, fresh...)}, {after: 11 * time.Second}}},
		{"9111 4.2.4", "stale is not given after must-revalidate", Config{StaleIfError: day}, []step{{says: []string{"Cache-Control: max-age=1, must-revalidate"}}, {after: 5 * time.Second, status: 503}}},
		{"9111 4.3.1", "a stale answer is validated by its tag", Config{}, []step{{says: etag}, {after: 61 * time.Second, status: 304, hit: true}, {hit: true}}},
		{"9111 4.3.1", "or by its date", Config{}, []step{{says: dated}, {after: 61 * time.Second, status: 304, hit: true}, {hit: true}}},
		{"9111 4.3.2", "If-None-Match is answered", Config{}, []step{{says: etag}, {with: []string{`If-None-Match: "1"`}, hit: true, got: 304}}},
		{"9111 4.3.2", "If-None-Match counts before If-Modified-Since", Config{}, []step{{says: append([]string{`ETag: "1"`}, dated...)}, {with: []string{`If-None-Match: "2"`, "If-Modified-Since: Tue, 31 Dec 2024 00:00:00 GMT"}, hit: true}}},
		{"9111 4.3.2", "If-Modified-Since is answered", Config{}, []step{{says: dated}, {with: []string{"If-Modified-Since: Wed, 01 Jan 2025 00:00:00 GMT"}, hit: true, got: 304}}},
		{"9111 4.3.3", "a new whole answer replaces the stale one", Config{}, []step{{says: etag}, {after: 61 * time.Second, says: fresh}, {hit: true}}},
		{"9111 4.3.3", "a failure to validate is passed on", Config{}, []step{{says: etag}, {after: 61 * time.Second, status: 500}}},
		{"9111 4.3.4", "another tag in the 304 freshens nothing", Config{}, []step{{says: etag}, {after: 61 * time.Second, status: 304, says: []string{`ETag: "2"`}, hit: true}, {}}},
		{"9111 4.3.5", "HEAD with another tag ends the stored answer", Config{}, []step{{says: etag}, {after: 61 * time.Second, ask: "HEAD /", says: []string{`ETag: "2"`}}, {status: 304}}},
		{"9111 4.3.5", "HEAD of another length too", Config{}, []step{{says: etag}, {after: 61 * time.Second, ask: "HEAD /", says: []string{"X-Longer: 1"}}, {status: 304}}},
		{"9111 4.3.5", "HEAD with the same tag freshens it", Config{}, []step{{says: etag}, {after: 61 * time.Second, ask: "HEAD /", says: etag}, {hit: true}}},
		{"9111 4.3.5", "HEAD that says nothing changes nothing", Config{StaleIfError: day}, []step{{says: etag}, {after: 61 * time.Second, ask: "HEAD /"}, {status: 503, hit: true}}},
		{"9111 4.4", "POST ends the stored answer", Config{}, []step{{says: fresh}, {ask: "POST /"}, {}}},
		{"9111 4.4", "but not when it fails", Config{}, []step{{says: fresh}, {ask: "POST /", status: 500}, {hit: true}}},
		{"9111 4.4", "an unknown method does too", Config{}, []step{{says: fresh}, {ask: "FOO /"}, {}}},
		{"9111 4.4", "OPTIONS does not", Config{}, []step{{says: fresh}, {ask: "OPTIONS /"}, {hit: true}}},
		{"9111 4.4", "Location is ended too", Config{}, []step{{ask: "GET /a?q", says: fresh}, {ask: "POST /", status: 201, says: []string{"Location: /a?q"}}, {ask: "GET /a?q"}}},
		{"9111 4.4", "Content-Location too, relative and absolute", Config{}, []step{{ask: "GET /x/a", says: fresh}, {ask: "PUT /x/b", says: []string{"Content-Location: a"}}, {ask: "GET /x/a", says: fresh}, {ask: "PUT /", says: []string{"Content-Location: https://API.example:443/x/a"}}, {ask: "GET /x/a"}}},
		{"9111 4.4", "not of another host", Config{}, []step{{ask: "GET /a", says: fresh}, {ask: "POST /", says: []string{"Location: https://other.example/a"}}, {ask: "GET /a", hit: true}}},
		{"9111 4.4", "not of another scheme or port", Config{}, []step{{ask: "GET /a", says: fresh}, {ask: "POST /", says: []string{"Location: http://api.example/a", "Content-Location: https://api.example:8443/a"}}, {ask: "GET /a", hit: true}}},

		// Section 5: fields.
		{"9111 5.1", "of two ages the first", Config{}, []step{{says: append([]string{"Age: 0, 7200"}, fresh...)}, {hit: true}}},
		{"9111 5.1", "an old age before another", Config{}, []step{{says: append([]string{"Age: 7200, 0"}, fresh...)}, {}}},
		{"9111 5.1", "an unreadable age is none", Config{}, []step{{says: append([]string{"Age: old"}, fresh...)}, {hit: true}}},
		{"9111 5.2", "directives in any case", Config{}, []step{{says: []string{"CACHE-CONTROL: MaX-aGe=60"}}, {hit: true}}},
		{"9111 5.2", "unknown directives are passed over", Config{}, []step{{says: []string{`Cache-Control: a, b="max-age=1, no-store", max-age=60`}}, {hit: true}}},
		{"9111 5.2.1.1", "max-age of the request", Config{}, []step{{says: fresh}, {after: 10 * time.Second, with: []string{"Cache-Control: max-age=9"}}}},
		{"9111 5.2.1.2", "max-stale of the request", Config{}, []step{{says: fresh}, {after: 70 * time.Second, with: []string{"Cache-Control: max-stale=10"}, hit: true}}},
		{"9111 5.2.1.3", "min-fresh of the request", Config{}, []step{{says: fresh}, {after: 50 * time.Second, with: []string{"Cache-Control: min-fresh=11"}}}},
		{"9111 5.2.1.4", "no-cache of the request", Config{}, []step{{says: fresh}, {with: []string{"Cache-Control: no-cache"}}}},
		{"9111 5.2.1.5", "no-store of the request", Config{}, []step{{with: []string{"Cache-Control: no-store"}, says: fresh}, {}}},
		{"9111 5.2.1.7", "only-if-cached with nothing stored", Config{}, []step{{with: []string{"Cache-Control: only-if-cached"}, got: 504, hit: true}}},
		{"9111 5.2.1.7", "only-if-cached with an answer", Config{}, []step{{says: fresh}, {with: []string{"Cache-Control: only-if-cached"}, hit: true}}},
		{"9111 5.2.2.3", "must-understand takes no-store back for a known status", Config{}, []step{{says: []string{"Cache-Control: must-understand, no-store, max-age=60"}}, {hit: true}}},
		{"9111 5.2.2.4", "no-cache is validated every time", Config{}, []step{{says: []string{"Cache-Control: no-cache, max-age=60", `ETag: "1"`}}, {status: 304, hit: true}, {status: 200}}},
		{"9111 5.2.2.4", "no-cache of one field leaves it out", Config{}, []step{{says: []string{`Cache-Control: no-cache="x-a", max-age=60`, "X-A: 1", "X-B: 1"}, has: []string{"X-A: 1"}}, {hit: true, has: []string{"X-A: ", "X-B: 1"}}}},
		{"9111 5.2.2.5", "no-store", Config{}, []step{{says: []string{"Cache-Control: no-store, max-age=60"}}, {}}},
		{"9111 5.2.2.7", "private", Config{}, []step{{says: []string{"Cache-Control: private, max-age=60"}}, {}}},
		{"9111 5.2.2.7", "private of one field leaves it out", Config{}, []step{{says: []string{`Cache-Control: private="Set-Cookie", max-age=60`, "Set-Cookie: a=b"}, has: []string{"Set-Cookie: a=b"}}, {hit: true, has: []string{"Set-Cookie: "}}}},
		{"9111 5.2.2.8", "proxy-revalidate forbids stale", Config{StaleIfError: day}, []step{{says: []string{"Cache-Control: max-age=1, proxy-revalidate"}}, {after: 5 * time.Second, status: 503}}},
		{"9111 5.2.2.10", "s-maxage forbids stale", Config{StaleIfError: day}, []step{{says: []string{"Cache-Control: s-maxage=1"}}, {after: 5 * time.Second, status: 503}}},
		{"9111 5.4", "Pragma: no-cache of a request", Config{}, []step{{says: fresh}, {with: []string{"Pragma: no-cache"}}}},
		{"9111 5.4", "is passed over beside Cache-Control", Config{}, []step{{says: fresh}, {with: []string{"Pragma: no-cache", "Cache-Control: max-age=600"}, hit: true}}},

		// RFC 5861.
		{"5861 4", "stale-if-error on a status", Config{}, []step{{says: []string{"Cache-Control: max-age=1, stale-if-error=60"}}, {after: 30 * time.Second, status: 503, hit: true}}},
		{"5861 4", "stale-if-error beside s-maxage", Config{}, []step{{says: []string{"Cache-Control: s-maxage=1, stale-if-error=60"}}, {after: 30 * time.Second, status: 503, hit: true}}},
		{"5861 4", "past stale-if-error", Config{}, []step{{says: []string{"Cache-Control: max-age=1, stale-if-error=60"}}, {after: 62 * time.Second, status: 503}}},
		{"5861 4", "stale-if-error=0 beats the configuration", Config{StaleIfError: day}, []step{{says: []string{"Cache-Control: max-age=1, stale-if-error=0"}}, {after: 5 * time.Second, status: 503}}},
		{"5861 4", "stale-if-error of the request", Config{}, []step{{says: []string{"Cache-Control: max-age=1"}}, {after: 30 * time.Second, with: []string{"Cache-Control: stale-if-error=60"}, status: 503, hit: true}}},
		{"5861 4", "stale-if-error of the request against must-revalidate", Config{}, []step{{says: []string{"Cache-Control: max-age=1, must-revalidate"}}, {after: 30 * time.Second, with: []string{"Cache-Control: stale-if-error=60"}, status: 503}}},
		{"5861 4", "stale-if-error against no-cache", Config{}, []step{{says: []string{"Cache-Control: no-cache, stale-if-error=60", `ETag: "1"`}}, {status: 503}}},

		// RFC 9213.
		{"9213 2.2", "the targeted field counts alone", cdn, []step{{says: []string{"CDN-Cache-Control: max-age=60", "Cache-Control: no-store", "Expires: 0", "Pragma: no-cache"}}, {after: 30 * time.Second, hit: true}}},
		{"9213 2.2", "also for less", cdn, []step{{says: []string{"CDN-Cache-Control: max-age=1", "Cache-Control: max-age=60"}}, {after: 2 * time.Second}}},
		{"9213 2.2", "private there", cdn, []step{{says: []string{"CDN-Cache-Control: private", "Cache-Control: max-age=60"}}, {}}},
		{"9213 2.2", "no-cache there makes max-age void", cdn, []step{{says: []string{"CDN-Cache-Control: no-cache, max-age=60", "Cache-Control: max-age=60"}}, {}}},
		{"9213 2.1", "malformed: Cache-Control counts", cdn, []step{{says: []string{"CDN-Cache-Control: max-age=60, &&&", "Cache-Control: no-store"}}, {}}},
		{"9213 2.1", "space before =: malformed", cdn, []step{{says: []string{"CDN-Cache-Control: max-age =60", "Cache-Control: no-store"}}, {}}},
		{"9213 2.1", "capitals: malformed", cdn, []step{{says: []string{"CDN-Cache-Control: MaX-aGe=60", "Cache-Control: no-store"}}, {}}},
		{"9213 2.1", "a value of the wrong type", cdn, []step{{says: []string{`CDN-Cache-Control: max-age="60"`, "Cache-Control: max-age=60"}}, {}}},
		{"9213 2.1", "parameters are passed over", cdn, []step{{says: []string{`CDN-Cache-Control: max-age=60;a;b="c", d=(e f)`}}, {hit: true}}},
		{"9213 2.2", "Age counts against it", cdn, []step{{says: []string{"CDN-Cache-Control: max-age=60", "Age: 120"}}, {}}},
		{"9213 2.2", "it is passed on", cdn, []step{{says: []string{"CDN-Cache-Control: max-age=60"}, has: []string{"CDN-Cache-Control: max-age=60"}}, {hit: true, has: []string{"CDN-Cache-Control: max-age=60"}}}},
	} {
		t.Run(c.section+" "+c.name, func(t *testing.T) {
			r := newRig(t, c.config)
			for i, s := range c.steps {
				if s.ask == "" {
					s.ask = "GET /"
				}
				if s.status == 0 {
					s.status = 200
				}
				if s.got == 0 && !s.hit {
					s.got = s.status
				} else if s.got == 0 {
					s.got = 200
				}
				r.advance(s.after)
				x := request(s.ask, s.with...)
				body := r.do(x, func(x *exchange.Exchange) *exchange.Fault {
					_ = says(s.status, string(rune('a'+i)), s.says...)(x)
					if x.Response.Header.Del("X-Longer") > 0 {
						x.Response.Length = 7
					}
					return nil
				})
				ours := body != string(rune('a'+i))
				if x.Request.Method == "HEAD" {
					ours = x.Attempts == 0
				}
				if ours != s.hit || x.Response.Status != s.got {
					t.Fatalf("step %d: %d, body %q, stored answer given: %v, want %d and %v; %s", i, x.Response.Status, body, ours, s.got, s.hit, x.CacheInfo)
				}
				for _, l := range s.has {
					var h = request("GET /", l).Request.Header
					if f := h.At(0); x.Response.Header.Joined(f.Name) != f.Value {
						t.Errorf("step %d: %s: %q, want %q", i, f.Name, x.Response.Header.Joined(f.Name), f.Value)
					}
				}
			}
		})
	}
}
