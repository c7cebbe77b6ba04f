package compose

import (
	"errors"

	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/tracing"
)

// resilience registers what clusters count of their budgets, limits and the
// breakers of endpoints.
func (w *Watched) resilience() error {
	each := func(emit func(cluster.Status)) {
		for _, s := range w.Clusters.Status() {
			emit(s)
		}
	}
	limited := func(value func(*cluster.LimitStatus) float64) func(tracing.Emit) {
		return func(emit tracing.Emit) {
			each(func(s cluster.Status) {
				if s.Concurrency != nil {
					emit(value(s.Concurrency), s.Service)
				}
			})
		}
	}
	service := []string{"lintel_service"}
	m := w.Metrics
	return errors.Join(
		m.RegisterCounter("lintel_retry_budget_exhausted_total", "Retries that were not made because the service's retry_budget was used up.", service, func(emit tracing.Emit) {
			each(func(s cluster.Status) { emit(float64(s.Retries.Exhausted), s.Service) })
		}),
		m.RegisterCounter("lintel_hedges_total", "Second attempts of hedged requests: won (its answer was the first good one), lost (the first attempt was answered after all), failed, refused (not made: nobody else to ask, no place in concurrency, or no retry budget).", []string{"lintel_service", "outcome"}, func(emit tracing.Emit) {
			each(func(s cluster.Status) {
				if h := s.Hedges; h != (cluster.HedgeStatus{}) {
					emit(float64(h.Won), s.Service, "won")
					emit(float64(h.Lost), s.Service, "lost")
					emit(float64(h.Failed), s.Service, "failed")
					emit(float64(h.Refused), s.Service, "refused")
				}
			})
		}),
		m.RegisterGauge("lintel_concurrency_limit", "Exchanges that a service may have at once.", service,
			limited(func(l *cluster.LimitStatus) float64 { return float64(l.Limit) })),
		m.RegisterGauge("lintel_concurrency_busy", "Exchanges that it has.", service,
			limited(func(l *cluster.LimitStatus) float64 { return float64(l.Busy) })),
		m.RegisterGauge("lintel_concurrency_queued", "Requests that wait for their turn.", service,
			limited(func(l *cluster.LimitStatus) float64 { return float64(l.Queued) })),
		m.RegisterCounter("lintel_concurrency_waited_total", "Requests that had to wait for their turn.", service,
			limited(func(l *cluster.LimitStatus) float64 { return float64(l.Waited) })),
		m.RegisterCounter("lintel_concurrency_wait_seconds_total", "How long they waited: divided by their number, the mean.", service,
			limited(func(l *cluster.LimitStatus) float64 { return l.Wait.Seconds() })),
		m.RegisterCounter("lintel_concurrency_refused_total", "Requests refused: full (no place in the queue), late (queue_timeout).", []string{"lintel_service", "reason"}, func(emit tracing.Emit) {
			each(func(s cluster.Status) {
				if l := s.Concurrency; l != nil {
					emit(float64(l.Full), s.Service, "full")
					emit(float64(l.Late), s.Service, "late")
				}
			})
		}),
	)
}
