package cluster

import (
	"fmt"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// another reports whether there is an endpoint besides the one that is asked first.
func (r *run) another() bool {
	l, n := r.c.lineup.Load(), 0
	for _, list := range [...][]*member{l.members, l.spare} {
		for _, m := range list {
			if m.available() {
				n++
			}
		}
	}
	return n > 1
}

// balanced says how an endpoint is picked.
func (r *run) balanced(live bool) Term {
	cfg := &r.c.cfg
	t := Term{Kind: "balance", Verdict: cfg.Balance, Settings: cfg.about()}
	keyed := false
	if cfg.Balance == "consistent_hash" {
		key, of := r.c.keyOf(r)
		r.key, r.keyed = key, true
		switch {
		case of == nil:
			t.Verdict += ": it has no key, and goes to any endpoint"
		case r.cookie != "":
			t.Verdict += ": it has no key, goes to any endpoint, and gets " + of.String() + " to stay with that"
		default:
			t.Verdict += " by " + of.String()
			keyed = true
		}
	}
	if live {
		t.Now = r.c.endpoints()
		if l := r.c.lineup.Load(); keyed && len(l.members) > 0 {
			if m := r.pick(l); m != nil {
				t.Now += "; its key is at " + m.Address
			}
		}
	}
	return t
}

// String names the key.
func (k *HashKey) String() string {
	if k.Name == "" {
		return k.From
	}
	return k.From + " " + k.Name
}

// about describes what of balancing is configured.
func (cfg *Config) about() string {
	var parts []string
	add := func(given bool, format string, args ...any) {
		if given {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	var keys []string
	for i := range cfg.Hash {
		keys = append(keys, cfg.Hash[i].String())
	}
	add(len(keys) > 0, "the first that there is of %s", strings.Join(keys, ", "))
	add(len(keys) > 0 && cfg.BoundedLoad > 0, "bounded_load %s", number(cfg.BoundedLoad))
	add(cfg.SlowStart > 0, "slow_start %s", exchange.ShortDuration(cfg.SlowStart))
	add(cfg.Locality != "", "locality %s", cfg.Locality)
	add(cfg.Subset > 0, "subset %d", cfg.Subset)
	add((cfg.Health != nil || cfg.Outlier != nil) && cfg.Panic > 0, "panic_threshold %s", number(cfg.Panic))
	return strings.Join(parts, "; ")
}

// endpoints says how many there are at the moment.
func (c *Cluster) endpoints() string {
	if !c.answered() {
		return "discovery has not named its endpoints yet"
	}
	n := c.numbers()
	all := 0
	var parts []string
	for _, state := range States {
		if n.States[state] > 0 {
			all += n.States[state]
			parts = append(parts, fmt.Sprintf("%d %s", n.States[state], state))
		}
	}
	if all == 0 {
		return "there is no endpoint: 503 no-endpoint"
	}
	s := "endpoints: " + strings.Join(parts, ", ")
	if n.Panic {
		s += "; too few are healthy, so all are used"
	}
	return s
}

// guards say what else stands between a route and a service.
func (r *run) guards(live bool) []Term {
	c, cfg := r.c, &r.c.cfg
	var out []Term
	if cfg.Connect > 0 {
		out = append(out, Term{Kind: "connect_timeout", Verdict: "no connection within " + exchange.ShortDuration(cfg.Connect) + " is connect-timeout, for retries a connect"})
	}
	if cfg.MaxConns > 0 {
		out = append(out, Term{Kind: "max_conns", Verdict: fmt.Sprintf("at most %d connections to an endpoint; requests wait for one until they time out (pool-full)", cfg.MaxConns)})
	}
	if cfg.Breaker.Enabled {
		t := Term{Kind: "breaker", Verdict: cfg.Breaker.about()}
		if live {
			t.Now = c.breakers()
		}
		out = append(out, t)
	}
	if c.limit != nil {
		t := Term{Kind: "concurrency", Verdict: c.limit.cfg.about()}
		if live {
			t.Now = c.limit.now()
		}
		out = append(out, t)
	}
	if cfg.Health != nil {
		out = append(out, Term{Kind: "health", Verdict: cfg.Health.about()})
	}
	if cfg.Outlier != nil {
		out = append(out, Term{Kind: "outlier", Verdict: cfg.Outlier.about()})
	}
	if f := cfg.Fallback; f != nil {
		t := Term{Kind: "fallback", Verdict: fmt.Sprintf("a fixed answer, %d, stands in for %s", f.Answer.Status, strings.Join(f.On, ", "))}
		if r.x != nil && !r.fallback() {
			t.Verdict, t.Why, t.Settings = "no fixed answer", "gRPC callers get their status", t.Verdict
		}
		out = append(out, t)
	}
	return out
}

// term says who takes a service's traffic when its own endpoints cannot.
func (t *tiers) term(live bool) Term {
	var names []string
	for _, c := range t.list[1:] {
		names = append(names, c.tier())
	}
	when := "when no endpoint is healthy"
	if t.Below > 0 {
		when = "when fewer than " + percent(t.Below) + " of the endpoints are healthy"
	}
	out := Term{Kind: "failover", Service: t.list[0].cfg.Service, Verdict: when + ", in this order: " + strings.Join(names, ", ")}
	if live {
		out.Now = t.list[0].serving().tier()
	}
	return out
}

func (b *BreakerConfig) about() string {
	per := b.Per
	if per == "" {
		per = "service"
	}
	if per == "both" {
		per = "service and per endpoint"
	}
	s := fmt.Sprintf("per %s: opens after %d failures in a row", per, b.Failures)
	if b.FailureRate > 0 {
		s += fmt.Sprintf(", or when %s of %d or more within %s fail", percent(b.FailureRate), b.MinRequests, exchange.ShortDuration(b.Window))
	}
	return s + ", for " + exchange.ShortDuration(b.Open)
}

// breakers says what is open at the moment.
func (c *Cluster) breakers() string {
	var parts []string
	if b := c.breaker; b != nil {
		s := b.state()
		if wait := b.wait(); s == "open" && wait > 0 {
			s += ", for another " + exchange.ShortDuration(wait.Round(100*time.Millisecond)) + ": 503 breaker-open"
		}
		parts = append(parts, s)
	}
	if c.trips {
		open := 0
		l := c.lineup.Load()
		for _, m := range l.members {
			if !m.available() {
				open++
			}
		}
		parts = append(parts, fmt.Sprintf("open for %d of %d endpoints", open, len(l.members)))
	}
	return strings.Join(parts, "; ")
}

func (l *LimitConfig) about() string {
	s := fmt.Sprintf("at most %d exchanges at once", l.Max)
	if l.Adaptive {
		s = fmt.Sprintf("at most %d to %d exchanges at once, by latency", l.Min, l.Max)
	}
	if l.Queue > 0 {
		s += fmt.Sprintf("; %d more wait for %s at most", l.Queue, exchange.ShortDuration(l.QueueTimeout))
	}
	return s
}

func (l *limit) now() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d of %d in progress, %d waiting", l.busy, l.max, l.queue.Len())
}

func (h *Health) about() string {
	what := h.Kind
	switch h.Kind {
	case "http":
		path, _, _ := strings.Cut(h.Path, "?") // which may hold a secret
		what = "GET " + path + " (" + strings.Join(h.Status, ", ") + ")"
	case "grpc":
		what = "grpc.health.v1 " + h.Service
	}
	return fmt.Sprintf("%s every %s, within %s; out after %d failures, in again after %d successes", strings.TrimSpace(what), exchange.ShortDuration(h.Interval), exchange.ShortDuration(h.Timeout), h.Unhealthy, h.Healthy)
}

func (o *Outlier) about() string {
	var parts []string
	add := func(given bool, format string, args ...any) {
		if given {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(o.Consecutive > 0, "%d failures in a row", o.Consecutive)
	add(o.Gateway > 0, "%d in a row that are not the service's own", o.Gateway)
	add(o.FailureRate > 0, "%s of %d or more within %s", percent(o.FailureRate), o.MinRequests, exchange.ShortDuration(o.Interval))
	return fmt.Sprintf("an endpoint is left out for %s after %s, at most %s of all", exchange.ShortDuration(o.Base), strings.Join(parts, ", or "), percent(o.MaxEjected))
}
