package tracing

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(quiet).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func wantLines(t *testing.T, page string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(page, l+"\n") {
			name, _, _ := strings.Cut(l, "{")
			var near []string
			for have := range strings.Lines(page) {
				if strings.HasPrefix(have, name) {
					near = append(near, have)
				}
			}
			t.Errorf("missing %s\nhave %s", l, strings.Join(near, ""))
		}
	}
}

func TestExchangesAreCounted(t *testing.T) {
	m := NewMetrics()
	one := func(x *exchange.Exchange) { m.Begin(x); m.End(x) }
	one(answered(request(), 200))
	again := answered(request(), 200)
	m.Begin(again)
	again.Request.Method, again.Request.Path = "POST", "/rewritten" // by a filter
	m.End(again)
	brew := answered(request(), 201)
	brew.Request.Method = "BREW"
	one(brew)
	late := failed(answered(request(), 0), timedOut)
	late.Attempts = 3
	one(late)
	none := failed(request(), &exchange.Fault{Source: exchange.FromClient, Status: 404, Code: "no-route"})
	none.Removed = 4
	one(none)
	gone := request()
	gone.Abort = errors.New("client went away")
	one(gone)
	odd := answered(request(), 777)
	odd.CacheInfo = "lintel; fwd=uri-miss; stored"
	one(odd)
	hit := request()
	hit.Pattern, hit.Route, hit.Response.Status, hit.CacheInfo = "/orders/{id}", "orders", 200, "lintel; hit; ttl=3"
	one(hit)
	one(failed(request(), &exchange.Fault{Source: exchange.FromSelf, Status: 500, Code: PanicCode}))
	m.Begin(request()) // still running

	page := scrape(t, m)
	const at = `http_route="/orders/{id}",lintel_route="orders"`
	wantLines(t, page,
		`http_server_request_duration_seconds_count{error_type="",http_request_method="GET",http_response_status_code="200",`+at[:len(`http_route="/orders/{id}",`)]+`lintel_route="orders",network_protocol_version="1.1",url_scheme="https"} 3`,
		`http_server_request_duration_seconds_count{error_type="",http_request_method="_OTHER",http_response_status_code="201",http_route="/orders/{id}",lintel_route="orders",network_protocol_version="1.1",url_scheme="https"} 1`,
		`http_server_request_duration_seconds_count{error_type="upstream-timeout",http_request_method="GET",http_response_status_code="504",http_route="/orders/{id}",lintel_route="orders",network_protocol_version="1.1",url_scheme="https"} 1`,
		`http_server_request_duration_seconds_count{error_type="",http_request_method="GET",http_response_status_code="404",http_route="",lintel_route="",network_protocol_version="1.1",url_scheme="https"} 1`,
		`http_server_request_duration_seconds_count{error_type="aborted",http_request_method="GET",http_response_status_code="",http_route="",lintel_route="",network_protocol_version="1.1",url_scheme="https"} 1`,
		`http_client_request_duration_seconds_count{error_type="",http_request_method="GET",http_response_status_code="200",lintel_service="orders"} 2`,
		`http_client_request_duration_seconds_count{error_type="upstream-timeout",http_request_method="GET",http_response_status_code="504",lintel_service="orders"} 1`,
		`http_client_request_duration_seconds_count{error_type="_OTHER",http_request_method="GET",http_response_status_code="_OTHER",lintel_service="orders"} 1`,
		`http_client_request_duration_seconds_bucket{error_type="",http_request_method="GET",http_response_status_code="200",lintel_service="orders",le="0.001"} 0`,
		`http_client_request_duration_seconds_bucket{error_type="",http_request_method="GET",http_response_status_code="200",lintel_service="orders",le="0.005"} 2`,
		`http_server_response_body_size_bytes_sum{http_request_method="GET",`+at+`} 1016`,
		`http_server_active_requests{lintel_listener="public"} 1`,
		`lintel_faults_total{code="upstream-timeout",source="upstream"} 1`,
		`lintel_faults_total{code="no-route",source="client"} 1`,
		`lintel_retries_total{lintel_service="orders"} 2`,
		`lintel_cache_total{outcome="uri-miss"} 1`,
		`lintel_cache_total{outcome="hit"} 1`,
		`lintel_firewall_removed_total 4`,
		`lintel_panics_total 1`,
		`lintel_aborted_total 1`,
	)
	// Only the labels: a value may hold any digits.
	labels := strings.Join(regexp.MustCompile(`\{.*\}`).FindAllString(page, -1), "\n")
	for _, leak := range []string{"/orders/17", "BREW", "777", "hush", "rewritten"} {
		if strings.Contains(labels, leak) {
			t.Errorf("%q became a label", leak)
		}
	}
}

func TestSeriesAreBounded(t *testing.T) {
	m := NewMetrics()
	for i := range maxServerSeries + 500 {
		x := answered(request(), 200)
		x.Route = fmt.Sprintf("r%d", i)
		m.Begin(x)
		m.End(x)
	}
	page := scrape(t, m)
	if n := strings.Count(page, "http_server_request_duration_seconds_count{"); n > maxServerSeries+1 {
		t.Errorf("%d series", n)
	}
	wantLines(t, page, `http_server_request_duration_seconds_count{error_type="",http_request_method="GET",http_response_status_code="200",http_route="_OTHER",lintel_route="_OTHER",network_protocol_version="_OTHER",url_scheme="https"} 500`)
}

func TestLabelsDoNotKeepViewsOfTheRequest(t *testing.T) {
	m := NewMetrics()
	buf := []byte("GET")
	x := answered(request(), 200)
	x.Request.Method = viewOf(buf)
	m.Begin(x)
	m.End(x)
	copy(buf, "XXX") // the engine reuses its buffer
	y := answered(request(), 200)
	m.Begin(y)
	m.End(y)
	wantLines(t, scrape(t, m), `http_client_request_duration_seconds_count{error_type="",http_request_method="GET",http_response_status_code="200",lintel_service="orders"} 2`)
}

func TestCountingFromManyGoroutines(t *testing.T) {
	m := NewMetrics()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				x := answered(request(), 200+(i+g)%50)
				m.Begin(x)
				m.End(x)
			}
		})
	}
	wg.Wait()
	page := scrape(t, m)
	wantLines(t, page, `http_server_active_requests{lintel_listener="public"} 0`,
		`http_server_response_body_size_bytes_count{http_request_method="GET",http_route="/orders/{id}",lintel_route="orders"} 1600`)
}

func TestGaugesAskWhenScraped(t *testing.T) {
	m := NewMetrics()
	open := 0.0
	err := m.Watch(Gauges{
		Staleness: func(emit Emit) { emit(12, "orders"); emit(0, "users") },
		Expiry:    func(emit Emit) { emit(1.9e9, "spiffe://td/web") },
		Breakers:  func(emit Emit) { emit(2, "orders", "10.0.0.7:8080") },
		Connections: func(emit Emit) {
			emit(open, "listener", "public")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.BuildInfo("ingress", "1.0", "abc"); err != nil {
		t.Fatal(err)
	}
	a, err := NewAccessLog(LogConfig{Writer: &lockedBuffer{}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close(t.Context())
	if err := m.Observe(newTestTracer(t, Config{}), a); err != nil {
		t.Fatal(err)
	}
	if err := m.RegisterGauge("lintel_build_info", "again", nil, func(Emit) {}); err == nil {
		t.Error("a name was registered twice")
	}
	m.Reloaded(3)
	m.ReloadFailed()
	open = 7
	page := scrape(t, m)
	wantLines(t, page,
		`lintel_discovery_staleness_seconds{lintel_service="orders"} 12`,
		`lintel_certificate_expiry_timestamp_seconds{name="spiffe://td/web"} 1.9e+09`,
		`lintel_breaker_state{lintel_endpoint="10.0.0.7:8080",lintel_service="orders"} 2`,
		`lintel_connections_open{name="public",side="listener"} 7`,
		`lintel_config_generation 3`, `lintel_config_reload_failures_total 1`, `lintel_config_last_reload_successful 0`,
		`lintel_access_log_lines_total{outcome="dropped"} 0`, `lintel_spans_total{outcome="sent"} 0`,
	)
	if !strings.Contains(page, `mode="ingress"`) || strings.Contains(page, "lintel_config_last_reload_success_timestamp_seconds 0\n") {
		t.Error(page)
	}
}
