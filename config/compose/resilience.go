package compose

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1"
	"lintel.dev/lintel/proxy/pipe"
	"lintel.dev/lintel/tracing"
)

// grpcCodes are the gRPC statuses that retries.on may name.
var grpcCodes = map[string]int{"cancelled": 1, "deadline-exceeded": 4, "resource-exhausted": 8, "aborted": 10, "internal": 13, "unavailable": 14}

// Forwarding turns a route's terms into the cluster's.
func Forwarding(timeout time.Duration, r config.Retries, d *config.Deadline) cluster.Options {
	o := cluster.Options{Timeout: timeout, Attempts: r.Attempts, Backoff: r.Backoff, MaxBackoff: r.MaxBackoff,
		PerTry: r.PerTry, BufferBody: r.BufferBody, OnConnect: slices.Contains(r.On, "connect"), OnReset: slices.Contains(r.On, "reset"),
		Methods: r.Methods, IdempotencyKey: r.IdemKey}
	for _, on := range r.On {
		switch status, err := strconv.Atoi(on); {
		case err == nil:
			o.OnStatus = append(o.OnStatus, status)
		case on == "5xx":
			o.On5xx = true
		case on == "gateway-error":
			o.OnStatus = append(o.OnStatus, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout)
		case grpcCodes[on] != 0:
			o.OnGRPC |= cluster.Statuses(grpcCodes[on])
		}
	}
	if d != nil {
		o.DeadlineFrom, o.DeadlineTo = d.From, d.To
	}
	return o
}

// Hedge turns a route's setting into the cluster's.
func Hedge(h *config.Hedge) *cluster.Hedge {
	if h == nil {
		return nil
	}
	q, d, _ := h.Late()
	if q > 0 {
		return cluster.HedgeBeyond(q, h.Methods)
	}
	return cluster.HedgeAfter(d, h.Methods)
}

// resilient sets what of a cluster's configuration is about budgets and limits.
func resilient(c *cluster.Config, svc config.Service) {
	c.RetryBudget = cluster.RetryBudgetConfig(svc.RetryBudget)
	if l := svc.Concurrency; l != nil {
		c.Limit = &cluster.LimitConfig{Max: l.Max, Adaptive: l.Adaptive, Min: l.Min, Queue: l.Queue, QueueTimeout: l.QueueTimeout}
	}
	if f := svc.Fallback; f != nil {
		c.Fallback = &cluster.Fallback{On: f.On, Answer: exchange.Instead{Status: f.Status, Body: []byte(f.Body)}}
		for name, value := range f.Headers {
			c.Fallback.Answer.Header = append(c.Fallback.Answer.Header, exchange.Field{Name: name, Value: value})
		}
	}
}

// priorities are those a route may have.
var priorities = map[string]exchange.Priority{"critical": exchange.Critical, "sheddable": exchange.Sheddable}

// Priority is what a route's setting means.
func Priority(setting string) exchange.Priority { return priorities[setting] }

// Shedder returns what turns requests away when the machine is full, running
// until ctx ends; nil when that is not configured.
func Shedder(ctx context.Context, cfg *config.Overload, m *tracing.Metrics, log *slog.Logger) (*pipe.Shedder, error) {
	if cfg == nil {
		return nil, nil
	}
	s := &pipe.Shedder{Delay: cfg.Delay, Interval: cfg.Interval, Log: log,
		Measure: func() time.Duration { return http1.LoopDelay(10 * cfg.Delay) }}
	err := errors.Join(
		m.RegisterGauge("lintel_overload_level", "Share of requests turned away because the machine is full: up to 1 of the sheddable, up to 2 also of those of default priority.", nil,
			func(emit tracing.Emit) { emit(s.Level()) }),
		m.RegisterGauge("lintel_overload_delay_seconds", "How late work started at least, in the last interval.", nil,
			func(emit tracing.Emit) { emit(s.LastDelay().Seconds()) }),
		m.RegisterCounter("lintel_overload_shed_total", "Requests turned away because the machine was full.", []string{"priority"}, func(emit tracing.Emit) {
			emit(float64(s.Shed(exchange.Default)), "default")
			emit(float64(s.Shed(exchange.Sheddable)), "sheddable")
		}))
	if err != nil {
		return nil, err
	}
	go s.Run(ctx)
	return s, nil
}
