package cluster

import (
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"lintel.dev/lintel/proxy/exchange"
)

// BreakerConfig says when a service counts as broken.
type BreakerConfig struct {
	Enabled     bool
	Failures    int           // failures in a row that open it
	FailureRate float64       // share within Window that opens it; 0 is off
	MinRequests int           // requests within Window before the share counts
	Window      time.Duration // length of the window
	Open        time.Duration // how long it stays open before a trial
	Trials      int           // successful trials that close it
	Per         string        // "service" (also when empty), "endpoint" or "both"
}

// breaker is one service's circuit breaker. A nil breaker lets all pass.
type breaker struct {
	cb    *gobreaker.CircuitBreaker[struct{}]
	open  time.Duration
	since atomic.Int64 // when it last opened, Unix nanoseconds
}

// errNotItsFault marks an attempt that says nothing about the service.
var errNotItsFault = errors.New("cluster: not the service's fault")

// errBadStatus marks an answer that says the service is failing.
var errBadStatus = errors.New("cluster: failing status")

func newBreaker(service string, c BreakerConfig) *breaker {
	b := &breaker{open: c.Open}
	b.cb = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         service,
		MaxRequests:  uint32(c.Trials),
		Interval:     c.Window,
		BucketPeriod: c.Window / 10,
		Timeout:      c.Open,
		ReadyToTrip: func(n gobreaker.Counts) bool {
			if c.Failures > 0 && int(n.ConsecutiveFailures) >= c.Failures {
				return true
			}
			// Requests would count those in flight and those that say nothing.
			done := n.TotalSuccesses + n.TotalFailures
			return c.FailureRate > 0 && int(done) >= c.MinRequests &&
				float64(n.TotalFailures) >= c.FailureRate*float64(done)
		},
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				b.since.Store(time.Now().UnixNano())
			}
		},
		IsExcluded: func(err error) bool { return errors.Is(err, errNotItsFault) },
	})
	return b
}

// do runs attempt through the breaker. attempt's error only tells the breaker
// how it went; do returns a fault only when the breaker let nothing pass.
func (b *breaker) do(service string, attempt func() (struct{}, error)) *exchange.Fault {
	if b == nil {
		_, _ = attempt()
		return nil
	}
	_, err := b.cb.Execute(attempt)
	if !errors.Is(err, gobreaker.ErrOpenState) && !errors.Is(err, gobreaker.ErrTooManyRequests) {
		return nil
	}
	return &exchange.Fault{
		Source: exchange.FromUpstream, Status: http.StatusServiceUnavailable, Code: "breaker-open",
		Title: "Service is failing", Detail: "the circuit breaker of service " + service + " is open",
		RetryAfter: max(b.wait(), time.Second), Proxy: "destination_unavailable",
	}
}

// wait is how long it stays open.
func (b *breaker) wait() time.Duration {
	return time.Until(time.Unix(0, b.since.Load()).Add(b.open))
}

func (b *breaker) state() string {
	if b == nil {
		return "off"
	}
	return b.cb.State().String()
}

// State reports the breaker's: closed, half-open, open or off.
func (c *Cluster) State() string { return c.breaker.state() }
