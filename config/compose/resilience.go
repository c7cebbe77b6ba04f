package compose

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
)

// grpcCodes are the gRPC statuses that retries.on may name.
var grpcCodes = map[string]int{"cancelled": 1, "deadline-exceeded": 4, "resource-exhausted": 8, "aborted": 10, "internal": 13, "unavailable": 14}

// Forwarding turns a route's terms into the cluster's.
func Forwarding(timeout time.Duration, r config.Retries, d *config.Deadline) cluster.Options {
	o := cluster.Options{Timeout: timeout, Attempts: r.Attempts, Backoff: r.Backoff, MaxBackoff: r.MaxBackoff,
		BufferBody: r.BufferBody, OnConnect: slices.Contains(r.On, "connect"), OnReset: slices.Contains(r.On, "reset"),
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
