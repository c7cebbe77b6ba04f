package cluster

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

func TestGRPCTimeouts(t *testing.T) {
	for v, want := range map[string]time.Duration{"1S": time.Second, "100m": 100 * time.Millisecond, "5u": 5 * time.Microsecond, "0n": 0, "7n": 7,
		"2M": 2 * time.Minute, "3H": 3 * time.Hour, "99999999H": maxTimeout, "99999999n": 99999999, "00000001S": time.Second} {
		if d, ok := GRPCTimeout(v); !ok || d != want {
			t.Errorf("%s: %s, %t; want %s", v, d, ok, want)
		}
	}
	for _, v := range []string{"", "S", "1", "1s", "-1S", "+1S", "1.5S", " 1S", "1S ", "123456789S", "1S, 1S", "1h", "1SS", "１S", "0x1S"} {
		if d, ok := GRPCTimeout(v); ok {
			t.Errorf("%q passes as %s", v, d)
		}
	}
	for d, want := range map[time.Duration]string{-5: "1n", 0: "1n", 99999999: "99999999n", 100 * time.Millisecond: "100000u", 30 * time.Second: "30000000u",
		1e8 * time.Microsecond: "100000m", 1e6 * time.Second: "1000000S", 1<<63 - 1: "153722867M"} {
		if got := FormatGRPCTimeout(d); len(got) > 9 || got != want && d != 1<<63-1 {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

func TestTimeoutFields(t *testing.T) {
	for _, c := range []struct {
		name, v string
		want    time.Duration
	}{
		{"X-Request-Timeout", "1", time.Second}, {"X-Request-Timeout", "0.25", 250 * time.Millisecond}, {"X-Request-Timeout", "1500ms", 1500 * time.Millisecond},
		{"X-Request-Timeout", "2s", 2 * time.Second}, {"X-Request-Timeout", "3m", 3 * time.Minute}, {"X-Request-Timeout", "0", 0},
		{"X-Timeout-Ms", "250", 250 * time.Millisecond}, {"x-timeout-MS", "1.5", 1500 * time.Microsecond}, {"X-Timeout-Ms", "1s", time.Second},
		{"X-Request-Timeout", "999999999999999", maxTimeout}, {"X-Request-Timeout", "86400.5", maxTimeout},
	} {
		if d, ok := Timeout(c.name, c.v); !ok || d != c.want {
			t.Errorf("%s: %s is %s, %t; want %s", c.name, c.v, d, ok, c.want)
		}
	}
	for _, v := range []string{"", "s", "ms", "m", ".5", "5.", "1..5", "1.5.5", "-1", "+1", "1e3", " 1", "1 ", "1h", "1,2", "1, 2", "0x10", "Inf", "NaN", "1.1234567890", strings.Repeat("1", 16)} {
		if d, ok := Timeout("X-Request-Timeout", v); ok {
			t.Errorf("%q passes as %s", v, d)
		}
	}
	if a, b := FormatTimeout("T-Ms", 1250*time.Millisecond), FormatTimeout("T", 1250*time.Millisecond); a != "1250" || b != "1.25" || FormatTimeout("T", -1) != "0" {
		t.Error(a, b)
	}
}

func FuzzTimeouts(f *testing.F) {
	for _, v := range []string{"1S", "99999999H", "0.25", "1500ms", "1.123456789s", "3m", "1..2", "-1", "\x00"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if d, ok := GRPCTimeout(v); ok {
			if d < 0 || d > maxTimeout {
				t.Errorf("%q is %s", v, d)
			}
			again, ok := GRPCTimeout(FormatGRPCTimeout(d))
			if !ok || again > d && d > 0 || d-again > d/1000000+time.Duration(1) {
				t.Errorf("%q is %s, written and read again %s", v, d, again)
			}
		}
		for _, name := range []string{"T", "T-Ms"} {
			d, ok := Timeout(name, v)
			if !ok {
				continue
			}
			if d < 0 || d > maxTimeout+time.Minute {
				t.Errorf("%s: %q is %s", name, v, d)
			}
			if again, ok := Timeout(name, FormatTimeout(name, d)); !ok || again > d+time.Nanosecond || d-again > time.Millisecond+time.Nanosecond {
				t.Errorf("%s: %q is %s, written and read again %s", name, v, d, again)
			}
		}
	})
}

// The shortest of what route and caller say counts, and the service is told what
// is left of it.
func TestDeadlinesOfCallersShortenTheRoutes(t *testing.T) {
	o := Options{Timeout: 10 * time.Second, DeadlineFrom: []string{"X-Request-Timeout", "X-Wait-Ms"}, DeadlineTo: "X-Left-Ms"}
	for name, c := range map[string]struct {
		prepare  func(*exchange.Exchange)
		stranger bool
		within   time.Duration
		fault    string
	}{
		"route alone":         {prepare: func(*exchange.Exchange) {}, within: 10 * time.Second},
		"grpc-timeout":        {prepare: func(x *exchange.Exchange) { asGRPC(x, "2S") }, within: 2 * time.Second},
		"longer":              {prepare: func(x *exchange.Exchange) { asGRPC(x, "60S") }, within: 10 * time.Second},
		"malformed":           {prepare: func(x *exchange.Exchange) { asGRPC(x, "2s") }, fault: "bad-deadline"},
		"twice":               {prepare: func(x *exchange.Exchange) { asGRPC(x, "2S"); x.Request.Header.Add("grpc-timeout", "3S") }, fault: "bad-deadline"},
		"over":                {prepare: func(x *exchange.Exchange) { asGRPC(x, "0n") }, fault: "timeout"},
		"no gRPC":             {prepare: func(x *exchange.Exchange) { x.Request.Header.Set("grpc-timeout", "2S") }, within: 10 * time.Second},
		"field":               {prepare: field("X-Request-Timeout", "1.5"), within: 1500 * time.Millisecond},
		"second field":        {prepare: field("X-Wait-Ms", "900"), within: 900 * time.Millisecond},
		"field malformed":     {prepare: field("X-Wait-Ms", "soon"), fault: "bad-deadline"},
		"field of a stranger": {prepare: field("X-Request-Timeout", "1.5"), stranger: true, within: 10 * time.Second},
		"hop token":           {prepare: func(x *exchange.Exchange) { x.Txn = &exchange.Txn{Retries: -1, Deadline: time.Now().Add(time.Second)} }, within: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time is virtual
				sent := false
				tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
					sent = true
					h := &x.Request.Header
					if left := time.Until(x.Deadline); left > c.within || left < c.within-5*time.Second/10 {
						t.Errorf("%s are left, want %s", left, c.within)
					}
					told, ok := Timeout("X-Left-Ms", h.Get("X-Left-Ms"))
					if !ok || told > c.within || told < c.within/2 || h.Has("X-Request-Timeout") || h.Has("X-Wait-Ms") {
						t.Errorf("the service was told %v", h)
					}
					if x.IsGRPC() {
						if d, ok := GRPCTimeout(h.Get("Grpc-Timeout")); !ok || d > c.within || d < c.within/2 || h.Count("Grpc-Timeout") != 1 {
							t.Errorf("grpc-timeout %s", h.Get("Grpc-Timeout"))
						}
					}
					clustertest.Respond(x, 200, "ok")
					return nil
				}}
				cl := newTest(t, tr, Config{}, "a:1")
				x := newExchange("GET", "")
				c.prepare(x)
				f := TakeDue(x, &o, !c.stranger)
				if f == nil {
					f = cl.Forward(x, &o)
				}
				if code(f) != c.fault || sent != (c.fault == "") {
					t.Errorf("%v, want %q; sent %t", f, c.fault, sent)
				}
				over(x)
			})
		})
	}
}

func asGRPC(x *exchange.Exchange, timeout string) {
	x.Request.Proto = "HTTP/2.0"
	x.Request.Header.Set("Content-Type", "application/grpc")
	x.Request.Header.Set("grpc-timeout", timeout)
}

func field(name, v string) func(*exchange.Exchange) {
	return func(x *exchange.Exchange) { x.Request.Header.Set(name, v) }
}
